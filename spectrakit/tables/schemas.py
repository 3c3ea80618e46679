"""The table of layers and those of spectra, and the bins their columns are named after.

Nothing is computed here: analyses read the edges from this page, so that a column's name and what
was counted for it cannot disagree.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf

from spectrakit.tables.columns import Column, TableSchema
from spectrakit.tables.label_columns import HEAD, HEAD_OR_ALL, LABELS, LAYER

RADIUS_EDGES = (0.0, 0.1, 0.5, 0.9, 1.0, 10.0, 100.0, inf)
"""Edges of the |lambda| bins, closed on the right: [0, .1], (.1, .5], ..., (100, inf)."""

PHASE_EDGES = (0.0, 1.0, 10.0, 45.0, 90.0, 180.0)
"""Edges in degrees of the |phase| bins, closed on the right: [0, 1], (1, 10], ..."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles in `spectrum_summary`."""


def edge_name(edge: float) -> str:
    """An edge as it appears in a column's name: 0.1 is `0p1`."""
    return f"{edge:g}".replace(".", "p")


def share_names(stem: str, edges: tuple[float, ...]) -> tuple[str, ...]:
    """The share columns between neighbouring `edges`: `share_modulus_0p1_0p5`, ..."""
    return tuple(f"{stem}_{edge_name(low)}_{edge_name(high)}" for low, high in pairwise(edges))


def bound_name(share: str) -> str:
    """The companion of a share column: how far the share can be off."""
    return f"{share}_bound"


def quantile_names(stem: str) -> tuple[str, ...]:
    """The quantile columns of `stem`, in the order of `QUANTILES`: `modulus_q05`, ..."""
    return tuple(f"{stem}_q{round(100 * q):02d}" for q in QUANTILES)


MODULUS_SHARES = share_names("share_modulus", RADIUS_EDGES)
PHASE_SHARES = share_names("share_phase", PHASE_EDGES)

_PER_CONTINUOUS = "1/step (discrete), 1/time (continuous)"


def _shares(names: tuple[str, ...], edges: tuple[float, ...], what: str) -> tuple[Column, ...]:
    columns = []
    for name, (low, high) in zip(names, pairwise(edges), strict=True):
        bin_ = f"{'[' if low == 0 else '('}{low:g}, {high:g}{')' if high == inf else ']'}"
        columns += [
            Column(name, "float64", f"Share of eigenvalues with {what} in {bin_}.",
                   "fraction", nullable=True),
            Column(bound_name(name), "float64",
                   f"How far {name} can be off; 0 where it is exact.", "fraction", nullable=True),
        ]  # fmt: skip
    return tuple(columns)


def _quantiles(stem: str, what: str, unit: str, *, nullable: bool) -> tuple[Column, ...]:
    return tuple(
        Column(name, "float64", f"{quantile:.0%} quantile of {what}.", unit, nullable=nullable)
        for name, quantile in zip(quantile_names(stem), QUANTILES, strict=True)
    )


LAYERS = TableSchema(
    "layers",
    "a layer of the model, whether it could be analysed or not",
    (
        LAYER,
        Column("path", "string", "Module path of the layer in the checkpoint."),
        Column("block", "int32", "Block of the layer, from 0: it reads the residual stream at "
               "depth `block` of other tables, and what it adds is in the stream at depth "
               "`block` + 1. A hybrid's block may have several layers, or none. Null where the "
               "path has no number.", nullable=True),
        Column("kind", "string", "Kind of mixer: mamba, mamba2, softmax_attention, ..."),
        Column("operator", "string", "Structure of the transition operator A_t.", nullable=True),
        Column("mode", "string", "static, nominal or data; null where its recurrence was not "
               "looked at.", nullable=True),
        Column("gauge", "string", "Scaling of the state in which its eigenvalues are compared with "
               "those of other models: retained for attention, whose spectrum has rows in gauge "
               "dsf too.", nullable=True),
        Column("heads", "int32", "Number of heads.", nullable=True),
        Column("channels", "int32", "Number of channels.", nullable=True),
        Column("state_size", "int32", "State entries per channel.", nullable=True),
        Column("status", "string", "analysed, needs-data, unsupported or failed."),
        Column("reason", "string", "Why the layer was not analysed.", nullable=True),
        Column("bytes_read", "int64", "Bytes of tensor data read for this layer.", "byte"),
        Column("tokens", "int64", "Tokens that the model was run on, without padding; null where "
               "no text was read.", "token", nullable=True),
        Column("sequences", "int64", "Sequences that those tokens were in.", nullable=True),
    ),
)  # fmt: skip

SPECTRUM = TableSchema(
    "spectrum",
    "a distinct eigenvalue of a layer: of A_t in weights mode, of the continuous-time A in either",
    (
        LAYER,
        HEAD,
        Column("channel", "int32", "Channel; null where one eigenvalue serves all channels.",
               nullable=True),
        Column("state", "int32", "State entry; null where one eigenvalue serves all entries.",
               nullable=True),
        *LABELS,
        Column("re", "float64", "Real part of the eigenvalue."),
        Column("im", "float64", "Imaginary part of the eigenvalue."),
        Column("modulus", "float64", "|lambda|; null in the continuous domain.", nullable=True),
        Column("phase_deg", "float64", "Argument of the eigenvalue, in (-180, 180].", "degree",
               nullable=True),
        Column("decay_rate", "float64", "-log|lambda| (discrete) or -Re lambda (continuous).",
               _PER_CONTINUOUS),
        Column("timescale_steps", "float64",
               "1 / decay_rate, inf for a mode that never decays; null in the continuous domain.",
               "step", nullable=True),
        Column("multiplicity", "int64", "How many eigenvalues of the layer this row stands for."),
        Column("error_bound", "float64", "How far the computed eigenvalue can be off; null where "
               "it is a closed form.", nullable=True),
    ),
)  # fmt: skip

SPECTRUM_SUMMARY = TableSchema(
    "spectrum_summary",
    "a layer, or a head of it, with the distribution of its eigenvalues",
    (
        LAYER,
        HEAD_OR_ALL,
        *LABELS,
        Column("count", "int64", "Eigenvalues with multiplicity (weights mode) or observed over "
               "all valid tokens but the first of each sequence (data mode). Exact."),
        Column("tokens", "int64", "Tokens whose A_t was counted; null where A needs no tokens.",
               "token", nullable=True),
        Column("sequences", "int64", "Sequences that those were in; null likewise.",
               nullable=True),
        Column("spectral_radius", "float64", "Largest |lambda|; null in the continuous domain.",
               nullable=True),
        Column("spectral_radius_bound", "float64", "How far spectral_radius can be off; 0 where "
               "it is exact: everywhere but for eigenvalues that have an error_bound.",
               nullable=True),
        Column("spectral_abscissa", "float64", "Largest Re lambda; null in the discrete domain.",
               "1/time", nullable=True),
        Column("spectral_abscissa_bound", "float64", "How far spectral_abscissa can be off, "
               "likewise.", "1/time", nullable=True),
        Column("stable", "bool", "Discrete: radius < 1; continuous: abscissa < 0. Null where "
               "|lambda| >= 1 was observed on tokens: in a time-varying system that is not "
               "instability by itself.", nullable=True),
        Column("mean_modulus", "float64", "Mean |lambda|, inf where it is beyond float64; null in "
               "the continuous domain.", nullable=True),
        Column("mean_modulus_bound", "float64", "How far mean_modulus can be off; 0 where it is "
               "exact: in data mode, for all but layers of channels with a step each (Mamba), "
               "whose moduli are binned.", nullable=True),
        *_quantiles("modulus", "|lambda|, right to a factor of modulus^(+-relative_error)", "",
                    nullable=True),
        *_quantiles("timescale", "1/decay rate (inf where |lambda| >= 1), right to relative_error",
                    "step", nullable=True),
        *_quantiles("decay_rate", "the decay rate, right to relative_error", _PER_CONTINUOUS,
                    nullable=False),
        *_shares(MODULUS_SHARES, RADIUS_EDGES, "|lambda|"),
        *_shares(PHASE_SHARES, PHASE_EDGES, "|phase| in degrees"),
        Column("token_spread", "float64", "How far the decay depends on the token: standard "
               "deviation over tokens of log10(-log|det A_t| / N), the mean decay rate of a head "
               "(or channel) at a token; of a layer, the root of the mean square over them. "
               "Tokens at which it is 0 or infinite are left out. 0 in mode static; null in mode "
               "nominal, in the continuous domain, and where the state grows at some token.",
               "decade", nullable=True),
        Column("relative_error", "float64", "Largest relative error of the decay rates behind the "
               "quantiles: 0 if exact, 0.01 from a sketch (data mode), inf where an eigenvalue's "
               "error bound allows a rate of zero. Columns without a bound, or this one, are "
               "exact, but for the rounding of float64."),
    ),
)  # fmt: skip

SPECTRUM_HISTOGRAM = TableSchema(
    "spectrum_histogram",
    "a bin of decay rate and phase, with the eigenvalues of a layer or head that fall in it; of a "
    "layer of channels with a step each (Mamba) in data mode, up to half a bin beyond its edges",
    (
        LAYER,
        HEAD_OR_ALL,
        *LABELS,
        Column("decay_rate_low", "float64", "Lower edge. Low and high are both +inf for "
               "|lambda| = 0, both 0 for |lambda| = 1; negative for |lambda| > 1.",
               _PER_CONTINUOUS),
        Column("decay_rate_high", "float64", "Upper edge.", _PER_CONTINUOUS),
        Column("phase_low_deg", "float64", "Lower edge of the phase; 0 and 0 for positive real "
               "eigenvalues.", "degree"),
        Column("phase_high_deg", "float64", "Upper edge of the phase.", "degree"),
        Column("count", "int64", "Eigenvalues in the bin."),
    ),
)  # fmt: skip

QUERY_FACTOR = TableSchema(
    "query_factor",
    "a layer of attention, or a head of it, with what its eigenvalues in gauge dsf have over those "
    "in gauge retained: lambda_dsf = query factor * lambda_retained at every token",
    (
        LAYER,
        HEAD_OR_ALL,
        Column("count", "int64", "Eigenvalues whose factor is a positive number, over all valid "
               "tokens; the columns that follow are of these."),
        Column("left_out", "int64", "The others: of tokens that read nothing from before them "
               "(lambda_retained = 0)."),
        Column("mean_log_dsf", "float64", "Mean log lambda in gauge dsf.", "1/step",
               nullable=True),
        Column("mean_log_retained", "float64", "Mean log lambda in gauge retained.", "1/step",
               nullable=True),
        Column("mean_log_query_factor", "float64", "Mean log of the query factor: the difference "
               "of the two.", "1/step", nullable=True),
        *_quantiles("log_query_factor", "the log of the query factor, within 1 %", "1/step",
                    nullable=True),
    ),
)  # fmt: skip
