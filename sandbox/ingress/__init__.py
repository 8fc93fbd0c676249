"""The sandbox's ingress controller: Ingress objects of class `nginx`, served by Caddy.

`routes`, `configuration`, `kubernetes_api`, `caddy_api` and `controller` run inside the image, where nothing but
Python's standard library is installed. `program` runs on the machine that builds the image.
"""
