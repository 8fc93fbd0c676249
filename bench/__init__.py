"""The figures of docs/reliability.md, measured: one command, results as JSON."""
