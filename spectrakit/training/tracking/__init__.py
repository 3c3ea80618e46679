"""Spectra while a model learns: a tracker for any loop."""
