"""The summaries of whole layers, as rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from spectrakit.report.gauges import shown_gauge
from spectrakit.tables import SPECTRUM_SUMMARY
from spectrakit.tables.arrow_arrays import numpy_array

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

    from spectrakit.tables import Run

Row: TypeAlias = "dict[str, Any]"


def layer_summaries(
    run: Run, domain: str | None = None, among: Collection[str] | None = None
) -> list[Row]:
    """The row of `spectrum_summary` of each layer as a whole (in each domain, or in `domain`).

    In the gauge that `shown_gauge` takes of those that the layer has.
    """
    rows = summaries_in_gauges(run, domain)
    gauges: dict[tuple[int, str], list[str]] = {}
    for row in rows:
        gauges.setdefault((row["layer"], row["domain"]), []).append(row["gauge"])
    shown = {place: shown_gauge(found, among) for place, found in gauges.items()}
    return [row for row in rows if row["gauge"] == shown[row["layer"], row["domain"]]]


def summaries_in_gauges(run: Run, domain: str | None = None) -> list[Row]:
    """The same in every gauge that a layer has. Rows of heads are left out."""
    if SPECTRUM_SUMMARY.name not in run.tables:
        return []
    table = run.table(SPECTRUM_SUMMARY.name)
    # A few rows of very many: taken one by one, since pyarrow.compute takes 60 ms to import.
    whole = np.flatnonzero(np.isnan(numpy_array(table.column("head")))).tolist()
    names = table.column_names
    rows = [{name: table.column(name)[index].as_py() for name in names} for index in whole]
    return [row for row in rows if domain in {None, row["domain"]}]


class LayerExponents(NamedTuple):
    """The Lyapunov exponents of a layer, per step.

    Of those that are finite, where there are any. timescale: of the largest, in steps. mean: of
    all, as often as they occur. erased: the share of singular values that are exactly zero, over
    all sequences. observed: whether they are means over tokens; else they are log|lambda|. gauge:
    of the state that they are of.
    """

    layer: int
    largest: float
    mean: float
    smallest: float
    timescale: float
    erased: float
    observed: bool
    gauge: str


def layer_exponents(lyapunov: pa.Table) -> list[LayerExponents]:
    """Of every layer in a `lyapunov` table, in their order."""
    layers = lyapunov["layer"].to_numpy()
    found = []
    for layer in np.unique(layers):
        part = lyapunov.filter(layers == layer)
        exponents, copies, timescale = (
            part[name].to_numpy() for name in ("exponent", "multiplicity", "timescale_steps")
        )
        share = _erased_share(part, exponents)
        erased = float((share * copies).sum() / copies.sum())
        if (finite := np.isfinite(exponents)).any():
            exponents, timescale = exponents[finite], timescale[finite]
            copies = (copies * (1 - share))[finite]
        found.append(
            LayerExponents(
                int(layer),
                largest=float(exponents.max()),
                mean=float((exponents * copies).sum() / copies.sum()),
                smallest=float(exponents.min()),
                timescale=float(timescale[exponents.argmax()]),
                erased=erased,
                observed=part["tokens"].null_count == 0,
                gauge=part["gauge"][0].as_py(),
            )
        )
    return found


def _erased_share(part: pa.Table, exponents: np.ndarray) -> np.ndarray:
    """Of each row, the share of the sequences in which the exponent is -inf."""
    # Of runs written by an earlier version, whose tables do not say.
    counted = "erased" in part.column_names
    if part["tokens"].null_count or not counted:
        return np.isneginf(exponents).astype(float)
    share: np.ndarray = part["erased"].to_numpy() / part["sequences"].to_numpy()
    return share


def drive(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was driven in a run with these rows of `empirical_memory`: model, blocks or mixers.

    Where the model has one block, that is the model.
    """
    if rows[0]["layer"] is not None:
        return "mixers"
    return "model" if all(row["driven_depth"] == 0 for row in rows) else "blocks"


def median_rate(summary: Row) -> float:
    """The decay rate whose timescale is the median one: of the median modulus in discrete time.

    Where values repeat, it is not the median of the decay rates: that is as often a value above the
    middle as the median timescale is one below.
    """
    if summary["domain"] == "continuous":
        return float(summary["decay_rate_q50"])
    modulus = summary["modulus_q50"]
    return -math.log(modulus) if modulus > 0 else math.inf
