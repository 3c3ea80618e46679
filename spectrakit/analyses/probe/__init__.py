"""What a linear classifier can tell of a prompt, at each depth."""

from __future__ import annotations

from spectrakit.analyses.kind import AnalysisKind, Chart
from spectrakit.analyses.probe.options import ProbeOptions
from spectrakit.analyses.probe.tables import PROBE
from spectrakit.registry import Later

_HERE = "spectrakit.analyses.probe"

KIND = AnalysisKind(
    name="probe",
    start=Later(f"{_HERE}.analysis:Probe"),
    sees=frozenset({"prompts"}),
    tables=(PROBE,),
    options=(ProbeOptions,),
    in_all="never",
    view=Later(f"{_HERE}.view:view"),
    charts=(
        Chart(
            name="probe",
            table=PROBE.name,
            draw=Later(f"{_HERE}.chart:probe_figure"),
            needs=(PROBE.name,),
        ),
    ),
    compared=Later(f"{_HERE}.compared:compared"),
)
