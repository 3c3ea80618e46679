"""Numbers that a run summarises, from tables of any shape, with how far each can be off.

A summary is told apart by where it is (a layer, a depth), and by what else its table has columns
for: domain, metric, positions. What it is of besides (a mode, a length of sequences) has to be the
same in both runs, or their numbers are two quantities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from spectrakit.report.summaries import drive, layer_exponents
from spectrakit.representations.proportions import standard_error
from spectrakit.tables import DECAY_KERNEL, DECAY_KERNEL_SUMMARY, LYAPUNOV, SPECTRUM_SUMMARY
from spectrakit.tables.empirical_memory_schema import EMPIRICAL_MEMORY
from spectrakit.tables.memory_schema import MEMORY_SUMMARY
from spectrakit.tables.probe_schema import PROBE
from spectrakit.tables.propagation_schema import PERTURBATION, PROPAGATION
from spectrakit.tables.schemas import (
    MODULUS_SHARES,
    PHASE_SHARES,
    bound_name,
    quantile_names,
)
from spectrakit.tables.similarity_schema import SIMILARITY

if TYPE_CHECKING:
    import pyarrow as pa

    from spectrakit.tables import Run

Row: TypeAlias = Mapping[str, Any]
#: What a number is of, by the code of `REASONS` where that of another run differs.
Conditions: TypeAlias = Mapping[str, object]


@dataclass(frozen=True)
class Number:
    """A value, None where its table has none, and its uncertainty, None where that is not known.

    conditions: what must be the same of two numbers for them to be one quantity.
    """

    value: float | None
    uncertainty: float | None
    conditions: Conditions = field(default_factory=dict)

    def unlike(self, other: Number) -> str | None:
        """The code of `REASONS` why the two are not one quantity; None where they are."""
        own, theirs = self.conditions, other.conditions
        return next((code for code in own if own[code] != theirs[code]), None)


def _as_stored(table: pa.Table) -> Iterable[Row]:
    rows: list[Row] = table.to_pylist()
    return rows


def _no_conditions(_row: Row, _options: Mapping[str, object]) -> Conditions:
    return {}


@dataclass(frozen=True)
class SummaryTable:
    """Which columns of a table are summaries.

    place: the column that says where a row belongs. labels: columns that tell rows of a place
    apart. values: names and columns' numbers of a row. kept: which rows are summaries at all.
    errors: whether uncertainties are standard errors, or bounds. rows: of the table, put together
    where what it holds is finer than a summary. conditions: of a row, and of the options of its
    run, what another run's must share.
    """

    table: str
    place: str
    labels: tuple[str, ...]
    values: Callable[[Row], Iterator[tuple[str, Number]]]
    kept: Callable[[Row], bool]
    errors: Literal["bound", "standard"]
    rows: Callable[[pa.Table], Iterable[Row]] = _as_stored
    conditions: Callable[[Row, Mapping[str, object]], Conditions] = _no_conditions

    def numbers(self, run: Run) -> dict[int, dict[str, dict[str, Number]]]:
        """By place, gauge, and metric with its labels; empty where the run lacks the table.

        The gauge is "" in a table that has none.
        """
        found: dict[int, dict[str, dict[str, Number]]] = {}
        if self.table not in run.tables:
            return found
        for row in self.rows(run.table(self.table)):
            if not self.kept(row):
                continue
            told = [str(row[label]) for label in self.labels if row[label] is not None]
            conditions = self.conditions(row, run.manifest.options)
            gauge = row.get("gauge", "")
            numbers = found.setdefault(row[self.place], {}).setdefault(gauge, {})
            for name, number in self.values(row):
                of = {**number.conditions, **conditions}
                numbers[" ".join([name, *told])] = replace(number, conditions=of)
        return found

    def combined(self, one: Number, other: Number) -> tuple[float | None, str | None]:
        """The uncertainty of a difference, or the code of `REASONS` why it is not known."""
        if one.uncertainty is None or other.uncertainty is None:
            return None, "no-bound" if self.errors == "bound" else "no-standard-error"
        if self.errors == "standard":
            return math.hypot(one.uncertainty, other.uncertainty), None
        return one.uncertainty + other.uncertainty, None


_SHARES = (*MODULUS_SHARES, *PHASE_SHARES)
_MODULI = quantile_names("modulus")
#: Of what exp of is still a number.
_LARGEST_LOG = 700.0
_EXTREMES = ("spectral_radius", "spectral_abscissa", "mean_modulus")


def _in_gauge(row: Row) -> Conditions:
    return {"other-gauge": row["gauge"]}


def _spectral_conditions(row: Row, _options: Mapping[str, object]) -> Conditions:
    return _in_gauge(row)


def _spectral(row: Row) -> Iterator[tuple[str, Number]]:
    error = row["relative_error"]
    for name in _SHARES:
        yield name, Number(row[name], row[bound_name(name)])
    for name in quantile_names("decay_rate"):
        yield name, Number(row[name], _moved(row[name], error))
    for name in quantile_names("timescale"):
        # Rates off by a share e: 1/r by e / (1 - e) of it.
        yield (
            name,
            Number(row[name], _moved(row[name], error / (1 - error) if error < 1 else error)),
        )
    for name in _MODULI:
        value = row[name]
        yield name, Number(value, _moved_modulus(value, error) if value else value)
    for name in _EXTREMES:
        # Of runs written by an earlier version, whose tables do not say, None.
        yield name, Number(row[name], row.get(bound_name(name)))


def _moved(value: float | None, share: float) -> float | None:
    """How far a value can be off by a share of it: not at all if by none, infinite or not."""
    if value is None:
        return None
    return abs(value) * share if value and share else 0.0


def _moved_modulus(modulus: float, error: float) -> float:
    """How far |lambda| can be off, where its decay rate can by the share `error`."""
    reach = abs(math.log(modulus)) * error
    return modulus * math.expm1(reach) if reach < _LARGEST_LOG else math.inf


def _exponent_rows(lyapunov: pa.Table) -> Iterator[Row]:
    """A row for each layer."""
    for of in layer_exponents(lyapunov):
        yield of._asdict()


def _grown(row: Row) -> Iterator[tuple[str, Number]]:
    error = None if row["observed"] else 0.0
    for name in ("largest", "mean", "smallest"):
        yield f"{name}_exponent", Number(row[name], error, _in_gauge(row))
    yield "erased_share", Number(row["erased"], error, _in_gauge(row))


def _carried(row: Row) -> Iterator[tuple[str, Number]]:
    low, high = row["lag_low"], row["lag_high"]
    lags = f"lag {low}" if low == high else f"lags {low} to {high}"
    for name in ("mass", "kernel_mean"):
        yield f"{name} at {lags}", Number(row[name], None)
    yield f"log_decay_mean at {lags}", Number(row["log_decay_mean"], None, _in_gauge(row))


_OF_KERNEL = ("mass", "lag_50", "lag_90", "first_token_share", "learned_sink_share")


def _reached(row: Row) -> Iterator[tuple[str, Number]]:
    for name in _OF_KERNEL:
        yield f"kernel {name}", Number(row[name], None)


def _kernel_conditions(_row: Row, options: Mapping[str, object]) -> Conditions:
    # Longer sequences have more inputs to divide an output among, and further ones; weights mode
    # has none.
    return {"other-seq-len": options.get("seq_len")}


def _flow(row: Row) -> Iterator[tuple[str, Number]]:
    yield row["metric"], Number(row["value"], row["standard_error"])


def _flow_conditions(row: Row, _options: Mapping[str, object]) -> Conditions:
    # The tokens of a sequence bound the rank of their covariance.
    ranks = ("effective_rank", "participation_ratio")
    return {"other-seq-len": row["seq_len"]} if row["metric"] in ranks else {}


_REMEMBERED = (
    "rank", "capacity", "delay_50", "delay_90", "last_delay_0p5", "last_delay_0p1",
    "last_delay_0p01", "mean_delay", "key_kernel_rank",
)  # fmt: skip


def _remembered(row: Row) -> Iterator[tuple[str, Number]]:
    for name in _REMEMBERED:
        yield name, Number(row[name], None)
    # Of another horizon it would be another quantity.
    yield f"capacity_within_{row['horizon']}", Number(row["capacity_within"], None)


def _memory_conditions(row: Row, options: Mapping[str, object]) -> Conditions:
    # Only of an infinite past does memory not end where the sequences or the horizon do.
    past = row["past"]
    return {
        "other-mode": row["mode"],
        "other-past": past,
        "other-seq-len": options.get("seq_len") if past == "sequence" else None,
        "other-horizon": None if past == "infinite" else row["horizon"],
    }


def _gains(row: Row) -> Iterator[tuple[str, Number]]:
    lag = row["lag"]
    yield f"gain at lag {lag}", Number(row["gain"], row["standard_error"])
    relative = Number(row["relative_gain"], row["relative_standard_error"])
    yield f"relative_gain at lag {lag}", relative


def _driven(row: Row) -> Iterator[tuple[str, Number]]:
    yield f"value at delay {row['delay']}", Number(row["value"], None)


def _driven_block(row: Row) -> Iterator[tuple[str, Number]]:
    yield f"value behind the driven block at delay {row['delay']}", Number(row["value"], None)


def _of_driven_model(empirical_memory: pa.Table) -> Iterable[Row]:
    """What was read at every depth of a model that was driven where its first block begins."""
    rows: list[Row] = empirical_memory.to_pylist()
    return rows if drive(rows) == "model" else ()


def _of_driven_blocks(empirical_memory: pa.Table) -> Iterable[Row]:
    """What was read behind each block that was driven; `driven_depth` is the block, from 0."""
    rows: list[Row] = empirical_memory.to_pylist()
    if drive(rows) != "blocks":
        return ()
    return [row for row in rows if row["depth"] == row["driven_depth"] + 1]


def _told(row: Row) -> Iterator[tuple[str, Number]]:
    # The model's own choice is the same at every depth.
    for name in ("accuracy", "model_accuracy") if row["depth"] == 0 else ("accuracy",):
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        yield name, Number(row[name], None if low is None else standard_error(low, high))


def _probe_conditions(row: Row, _options: Mapping[str, object]) -> Conditions:
    return {"other-items": row["items"]}


def _alike(row: Row) -> Iterator[tuple[str, Number]]:
    yield f"{row['estimator']} to next depth", Number(row["value"], None)


def _of_neighbours(row: Row) -> bool:
    """Whether it is of a depth and the next, of one model."""
    return row["other_run"] is None and row["other_depth"] == row["depth"] + 1


def _of_a_layer(row: Row) -> bool:
    return row["head"] is None and row.get("channel") is None


SUMMARIES = (
    SummaryTable(
        SPECTRUM_SUMMARY.name, "layer", ("domain",), _spectral,
        kept=_of_a_layer, errors="bound", conditions=_spectral_conditions,
    ),
    SummaryTable(
        LYAPUNOV.name, "layer", (), _grown,
        kept=lambda _: True, errors="standard", rows=_exponent_rows,
    ),
    SummaryTable(
        DECAY_KERNEL.name, "layer", ("token_set",), _carried,
        kept=_of_a_layer, errors="standard", conditions=_kernel_conditions,
    ),
    SummaryTable(
        DECAY_KERNEL_SUMMARY.name, "layer", ("token_set",), _reached,
        kept=_of_a_layer, errors="standard", conditions=_kernel_conditions,
    ),
    SummaryTable(
        MEMORY_SUMMARY.name, "layer", ("precision",), _remembered,
        kept=_of_a_layer, errors="bound", conditions=_memory_conditions,
    ),
    SummaryTable(
        PROPAGATION.name, "depth", ("of", "token_set", "coordinates"), _flow,
        kept=lambda row: row["position_low"] is None, errors="standard",
        conditions=_flow_conditions,
    ),
    SummaryTable(
        PERTURBATION.name, "depth", (), _gains, kept=lambda _: True, errors="standard",
    ),
    SummaryTable(
        EMPIRICAL_MEMORY.name, "depth", (), _driven,
        kept=lambda _: True, errors="standard", rows=_of_driven_model,
    ),
    SummaryTable(
        EMPIRICAL_MEMORY.name, "driven_depth", (), _driven_block,
        kept=lambda _: True, errors="standard", rows=_of_driven_blocks,
    ),
    SummaryTable(
        EMPIRICAL_MEMORY.name, "layer", (), _driven,
        kept=lambda row: row["layer"] is not None, errors="standard",
    ),
    SummaryTable(
        PROBE.name, "depth", ("task", "target"), _told,
        kept=lambda row: row["gold_position"] is None, errors="standard",
        conditions=_probe_conditions,
    ),
    SummaryTable(
        SIMILARITY.name, "depth", ("token_set", "coordinates"), _alike,
        kept=_of_neighbours, errors="standard",
    ),
)  # fmt: skip
"""The tables whose numbers are compared."""
