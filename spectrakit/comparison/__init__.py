"""Runs beside each other: distances of their spectra, differences of their numbers."""

from spectrakit.comparison.compare import compare, compare_runs

__all__ = ["compare", "compare_runs"]
