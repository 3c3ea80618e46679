"""Runs for people: in the terminal, and as pictures."""
