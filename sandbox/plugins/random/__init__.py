"""The resources of pulumi-random that need nothing but the operating system's randomness."""
