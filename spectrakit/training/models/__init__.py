"""Models that are trained here: one backbone, into which any mixer fits."""
