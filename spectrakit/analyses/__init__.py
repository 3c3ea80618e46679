"""Analyses: each a folder with what it computes, may be told, writes, and how that is shown."""
