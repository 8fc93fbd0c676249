"""Tests of the sandbox's ingress controller."""
