"""The sandbox's ingress controller: Ingress objects of class `nginx`, served by Caddy.

Three containers of one pod: the front takes visitors' connections, the router sends requests to the right store, and
the controller tells the router what the cluster's objects ask for. The controller's modules run inside the image, where
nothing but Python's standard library is installed; `program` runs on the machine that builds the image.
"""
