"""The command `stores`: parses, calls, prints. It holds no rule."""
