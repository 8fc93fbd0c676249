"""What a run does, one after the other; `audit.run` says in which order."""
