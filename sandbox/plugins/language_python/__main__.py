"""Runs the plugin `pulumi-language-python`."""

import sys

from sandbox.plugins.language_python.host import main

main(sys.argv[1:])
