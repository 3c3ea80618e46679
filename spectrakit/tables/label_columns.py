"""Columns that tables of layers share: which layer, which head, and in which mode and gauge."""

from __future__ import annotations

from spectrakit.tables.columns import Column

LAYER = Column("layer", "int32", "Index of the layer in the model, from 0.")
HEAD = Column("head", "int32", "Head of the layer; null where the layer has no heads.",
               nullable=True)  # fmt: skip
HEAD_OR_ALL = Column("head", "int32", "Head of the layer; null for the layer as a whole.",
                      nullable=True)  # fmt: skip

LABELS = (
    Column("domain", "string",
           "discrete (stable inside the unit circle) or continuous (stable left of zero)."),
    Column("mode", "string",
           "static (exact from weights), nominal (input-dependent A at its bias) or data "
           "(observed on tokens)."),
    Column("gauge", "string",
           "Scaling of the state in which time-varying eigenvalues are defined: unnormalised, dsf, "
           "retained or rickenbach2025. Only numbers in one gauge may be compared."),
)  # fmt: skip
