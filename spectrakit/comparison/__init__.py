"""Runs side by side: what differs between models, or between a model and its random control."""

from spectrakit.comparison.compare import compare_runs, write_comparison

__all__ = ["compare_runs", "write_comparison"]
