"""Who did what, and may they: limits, gate, ledger, and the driver of the engine."""
