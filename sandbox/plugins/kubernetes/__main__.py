"""Runs the plugin `pulumi-resource-kubernetes`."""

import sys

from sandbox.plugins.kubernetes.provider import KubernetesProvider
from sandbox.plugins.provider import run

run(KubernetesProvider, sys.argv[1:])
