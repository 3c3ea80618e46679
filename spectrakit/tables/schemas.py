"""The tables that spectrakit itself writes, and the bins their columns are named after.

Nothing is computed here: analyses read the edges from this page, so that a column's name and what
was counted for it cannot disagree.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf

from spectrakit.tables.columns import Column, TableSchema
from spectrakit.tables.comparison_schemas import DECAY_DISTANCE, SUMMARY_DIFFERENCE
from spectrakit.tables.empirical_memory_schema import EMPIRICAL_MEMORY
from spectrakit.tables.massive_schema import MASSIVE
from spectrakit.tables.memory_schema import MEMORY_FUNCTION, MEMORY_SUMMARY
from spectrakit.tables.probe_schema import PROBE
from spectrakit.tables.propagation_schema import PERTURBATION, PROPAGATION
from spectrakit.tables.similarity_schema import SIMILARITY

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

_LAYER = Column("layer", "int32", "Index of the layer in the model, from 0.")
_HEAD = Column("head", "int32", "Head of the layer; null where the layer has no heads.",
               nullable=True)  # fmt: skip
_HEAD_OR_ALL = Column("head", "int32", "Head of the layer; null for the layer as a whole.",
                      nullable=True)  # fmt: skip

_LABELS = (
    Column("domain", "string",
           "discrete (stable inside the unit circle) or continuous (stable left of zero)."),
    Column("mode", "string",
           "static (exact from weights), nominal (input-dependent A at its bias) or data "
           "(observed on tokens)."),
    Column("gauge", "string",
           "Scaling of the state in which time-varying eigenvalues are defined: unnormalised, dsf, "
           "retained or rickenbach2025. Only numbers in one gauge may be compared."),
)  # fmt: skip


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
        _LAYER,
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
        _LAYER,
        _HEAD,
        Column("channel", "int32", "Channel; null where one eigenvalue serves all channels.",
               nullable=True),
        Column("state", "int32", "State entry; null where one eigenvalue serves all entries.",
               nullable=True),
        *_LABELS,
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
        _LAYER,
        _HEAD_OR_ALL,
        *_LABELS,
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
        _LAYER,
        _HEAD_OR_ALL,
        *_LABELS,
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
        _LAYER,
        _HEAD_OR_ALL,
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

_OF_INPUTS = Column("token_set", "string", "Input tokens that are counted: all, or without_first, "
                    "all but the first of each sequence, on which attention may park unused "
                    "weight. Weights mode, which has no sequences: all.")  # fmt: skip

DECAY_KERNEL = TableSchema(
    "decay_kernel",
    "a bin of lags, with how strongly a layer or head carries an input over them; from at most 32 "
    "outputs of every sequence, each counted as often as outputs it stands for, and all tokens up "
    "to them; the first output of a sequence is left out (weights mode: from the last of 1024 "
    "tokens); of a layer of channels, from at most 64 of them, spread evenly",
    (
        _LAYER,
        _HEAD_OR_ALL,
        *_LABELS[1:],
        _OF_INPUTS,
        Column("lag_low", "int64", "Smallest lag of the bin; 0 is the token itself.", "token"),
        Column("lag_high", "int64", "Largest lag of the bin.", "token"),
        Column("pairs", "int64", "Pairs of tokens that were looked at."),
        Column("mass", "float64", "What inputs at these lags contribute to an output: "
               "|C_t A_t ... A_{s+1} B_s| summed over the pairs and divided by the outputs; the "
               "same in every gauge. Over all lags, softmax attention has one, less what its "
               "learned sinks take."),
        Column("kernel_mean", "float64", "Mean |C_t A_t ... A_{s+1} B_s| of the pairs at these "
               "lags t - s: the same in every gauge. Softmax attention: the attention weight."),
        Column("log_decay_mean", "float64", "Mean over the pairs of the sum of mean log|lambda| "
               "of the tokens between, in this gauge."),
    ),
)  # fmt: skip

DECAY_KERNEL_SUMMARY = TableSchema(
    "decay_kernel_summary",
    "a layer or head, with how its kernel |C_t A_t ... A_{s+1} B_s| is spread over lags and how "
    "much of it falls on sinks; of the outputs of `decay_kernel`",
    (
        _LAYER,
        _HEAD_OR_ALL,
        *_LABELS[1:],
        _OF_INPUTS,
        Column("outputs", "int64", "Outputs that those looked at stand for; null in weights mode.",
               "token", nullable=True),
        Column("mass", "float64", "The kernel summed over all inputs, an output's mean: the sum of "
               "`mass` in `decay_kernel`."),
        Column("mass_lag_0", "float64", "What an output has of its own token."),
        Column("mass_lag_1", "float64", "What it has of the token before."),
        Column("lag_50", "int64", "Smallest lag up to which half of the mass lies; from 1,024 on "
               "within 1.1 %. Null where there is no mass.", "token", nullable=True),
        Column("lag_90", "int64", "The same of 90 % of the mass.", "token", nullable=True),
        Column("first_token_share", "float64", "Share of the mass of all inputs that each "
               "sequence's first token has: of softmax attention the attention sink. Null in "
               "weights mode.", "fraction", nullable=True),
        Column("learned_sink_share", "float64", "Share of the normaliser that learned sinks have, "
               "an output's mean: 0 for softmax attention without any, null for other layers.",
               "fraction", nullable=True),
    ),
)  # fmt: skip

LYAPUNOV = TableSchema(
    "lyapunov",
    "a Lyapunov exponent of the product of a layer's transitions, with its multiplicity",
    (
        _LAYER,
        _HEAD,
        Column("channel", "int32", "Channel; null where one exponent serves all channels.",
               nullable=True),
        Column("index", "int32", "Position among the exponents of the head or channel, from 0 for "
               "the largest: the slowest to decay."),
        *_LABELS[1:],
        Column("exponent", "float64", "log of the singular value of a sequence's product "
               "A_T ... A_1 at this index, over T: the mean over sequences, weighted by their "
               "tokens, without those where it is zero; -inf where it is zero in all. log|lambda| "
               "where A does not depend on tokens.", "1/step"),
        Column("timescale_steps", "float64", "-1 / exponent, inf for a direction that never "
               "decays.", "step"),
        Column("multiplicity", "int64", "How many exponents of the layer this row stands for."),
        Column("tokens", "int64", "Transitions of all sequences; null where A does not depend on "
               "tokens.", nullable=True),
        Column("sequences", "int64", "Sequences: products that the exponents are averaged over; "
               "null likewise.", nullable=True),
        Column("erased", "int64", "Sequences in which the singular value is exactly zero: an "
               "exponent of -inf, which the mean leaves out. Null likewise.", nullable=True),
        Column("last_change", "float64", "How far the exponents of a sequence of this head moved "
               "in the last sweep, at most: below 1e-6 they have converged. 0 where they have a "
               "closed form (A_t that commute).", "1/step"),
        Column("sweeps", "int32", "Sweeps through a sequence's transitions that it took, at most "
               "20; 0 where the exponents have a closed form."),
    ),
)  # fmt: skip

RELEASED_BINS = TableSchema(
    "released_bins",
    "a bin of a layer's head, counted as the released analysis of arXiv 2510.09379 does",
    (
        _LAYER,
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

TABLES = (
    LAYERS,
    SPECTRUM,
    SPECTRUM_SUMMARY,
    SPECTRUM_HISTOGRAM,
    QUERY_FACTOR,
    LYAPUNOV,
    DECAY_KERNEL,
    DECAY_KERNEL_SUMMARY,
    RELEASED_BINS,
    MEMORY_FUNCTION,
    MEMORY_SUMMARY,
    SIMILARITY,
    PROPAGATION,
    PERTURBATION,
    MASSIVE,
    PROBE,
    EMPIRICAL_MEMORY,
    DECAY_DISTANCE,
    SUMMARY_DIFFERENCE,
)
"""Every table of spectrakit itself, in the order of the documentation."""
