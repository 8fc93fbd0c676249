"""How one thing is built. A component knows one store; it never reads files, config or the environment."""
