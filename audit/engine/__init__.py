"""The Pulumi engine, driven: the only place, beside the program, that imports its SDK."""
