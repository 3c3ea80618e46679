"""How numbers of `spectrum` are compared between runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spectrakit.analyses.kind import Compared
from spectrakit.analyses.spectrum.comparison_view import comparison_view
from spectrakit.tables.schemas import (
    MODULUS_SHARES,
    PHASE_SHARES,
    SPECTRUM_SUMMARY,
    bound_name,
    quantile_names,
)
from spectrakit.tables.summary_numbers import (
    Conditions,
    Number,
    Row,
    SummaryTable,
    in_gauge,
    of_a_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_SHARES = (*MODULUS_SHARES, *PHASE_SHARES)
_MODULI = quantile_names("modulus")
#: Of what exp of is still a number.
_LARGEST_LOG = 700.0
_EXTREMES = ("spectral_radius", "spectral_abscissa", "mean_modulus")


def _spectral_conditions(row: Row, _settings: Mapping[str, object]) -> Conditions:
    return in_gauge(row)


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


def compared() -> Compared:
    """See `AnalysisKind.compared`."""
    return Compared(
        summaries=(
            SummaryTable(
                SPECTRUM_SUMMARY.name,
                "layer",
                ("domain",),
                _spectral,
                kept=of_a_layer,
                errors="bound",
                conditions=_spectral_conditions,
            ),
        ),
        view=comparison_view,
        shown=(SPECTRUM_SUMMARY.name,),
    )
