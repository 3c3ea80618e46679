"""The summaries of whole layers, as rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spectrakit.tables import SPECTRUM_SUMMARY
from spectrakit.tables.arrow_arrays import numpy_array
from spectrakit.tables.gauges import shown_gauge

if TYPE_CHECKING:
    from collections.abc import Collection

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


def median_rate(summary: Row) -> float:
    """The decay rate whose timescale is the median one: of the median modulus in discrete time.

    Where values repeat, it is not the median of the decay rates: that is as often a value above the
    middle as the median timescale is one below.
    """
    if summary["domain"] == "continuous":
        return float(summary["decay_rate_q50"])
    modulus = summary["modulus_q50"]
    return -math.log(modulus) if modulus > 0 else math.inf
