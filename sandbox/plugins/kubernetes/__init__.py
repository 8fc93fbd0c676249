"""Kubernetes objects of any kind, and Helm releases, over the API server and the `helm` program."""
