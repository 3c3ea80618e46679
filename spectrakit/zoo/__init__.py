"""Many models in one go: which they are, and a run of each."""
