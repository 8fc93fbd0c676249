"""Containers and shops without a cluster, as close to the chart's pods as a test needs, and quick.

In layers, each of which knows only those before it: `network` (a network of its own, and sockets in it), `image` (a
container of an image), `database` (MariaDB's image, serving), `volumes` (those of a pod, as folders), `pod` (the
rendered chart's containers), `serving` (a shop that serves: asked over HTTP, by PHP and in its database). `job_pod`
runs the pods of Jobs. `receiver`, `mail_sink` and `object_store` are whom all of them talk to.
"""
