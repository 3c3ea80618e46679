"""Analyses: one file per analysis, all with one streaming protocol."""
