"""Runs the plugin `pulumi-resource-random`."""

import sys

from sandbox.plugins.provider import run
from sandbox.plugins.random.provider import RandomProvider

run(RandomProvider, sys.argv[1:])
