"""The chart of one store, and what writes the generated parts beside it."""
