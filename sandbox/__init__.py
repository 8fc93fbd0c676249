"""A Pulumi engine, its plugins and a Kubernetes node built from package registries alone."""
