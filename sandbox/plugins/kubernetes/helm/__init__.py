"""Helm releases, through the `helm` program."""
