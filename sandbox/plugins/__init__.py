"""Stand-ins for Pulumi's two provider plugins and its Python language host, which exist in no package registry.

They speak the official plugins' protocol with the same type tokens, inputs and outputs, for what this platform uses,
and refuse the rest by name. They live in the sandbox's own PULUMI_HOME only, so they never shadow an official plugin.
"""

from sandbox.plugins.installation import install, is_ours

__all__ = ["install", "is_ours"]
