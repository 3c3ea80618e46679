"""Many models in one go: which they are, a run of each, and what the runs say together."""
