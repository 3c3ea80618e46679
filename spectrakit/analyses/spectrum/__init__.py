"""Eigenvalue spectra of the transitions of every layer."""

from __future__ import annotations

from spectrakit.analyses.kind import AnalysisKind, Chart
from spectrakit.analyses.spectrum.options import SpectrumOptions
from spectrakit.registry import Later
from spectrakit.tables.schemas import QUERY_FACTOR, SPECTRUM, SPECTRUM_HISTOGRAM, SPECTRUM_SUMMARY

_HERE = "spectrakit.analyses.spectrum"

KIND = AnalysisKind(
    name="spectrum",
    start=Later(f"{_HERE}.analysis:Spectrum"),
    sees=frozenset({"recurrences"}),
    tables=(
        SPECTRUM,
        SPECTRUM_SUMMARY,
        SPECTRUM_HISTOGRAM,
        QUERY_FACTOR,
    ),
    options=(SpectrumOptions,),
    in_gauges="every",
    view=Later(f"{_HERE}.view:view"),
    charts=(
        Chart(
            name="spectrum",
            table=SPECTRUM_SUMMARY.name,
            draw=Later(f"{_HERE}.chart:spectrum_figure"),
            needs=(SPECTRUM.name, SPECTRUM_SUMMARY.name, SPECTRUM_HISTOGRAM.name),
            keeps=Later(f"{_HERE}.chart:is_drawn"),
        ),
    ),
    compared=Later(f"{_HERE}.compared:compared"),
)
