"""Tasks and their data: every example is a pure function of a seed and its number."""
