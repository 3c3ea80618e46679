"""Faster ways to compute the scans of recurrent mixers on the CPU."""

from spectrakit.scans.substitutes import fast_scan

__all__ = ["fast_scan"]
