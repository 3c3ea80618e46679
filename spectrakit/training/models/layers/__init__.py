"""Mixers as modules to be trained, one file each; their equations are in `spectrakit.mixers`."""
