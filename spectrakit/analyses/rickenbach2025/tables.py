"""The table of the `rickenbach2025` analysis."""

from __future__ import annotations

from spectrakit.tables.columns import Column, TableSchema
from spectrakit.tables.label_columns import LAYER

RELEASED_BINS = TableSchema(
    "released_bins",
    "a bin of a layer's head, counted as the released analysis of arXiv 2510.09379 does",
    (
        LAYER,
        Column("head", "int32", "Head of the layer; 0 for a layer of channels."),
        Column("of", "string", "What is binned: modulus (|lambda|) or phase_deg (signed)."),
        Column("low", "float64", "Lower edge, included (but in the last bin).",
               "degree for phases"),
        Column("high", "float64", "Upper edge, included.", "degree for phases"),
        Column("mean_percent", "float64", "Time steps in the bin, averaged over sequences.",
               "percent"),
        Column("std_percent", "float64", "Standard deviation over the sequences.", "percent"),
        Column("sequences", "int64", "Sequences that were averaged."),
    ),
)  # fmt: skip
