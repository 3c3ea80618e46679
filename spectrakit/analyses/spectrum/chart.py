"""The picture of a run, defined once; PNG, SVG and HTML are renderings of it.

+------------------+----------------------------+
| eigenvalues in   |  timescales: a row per     |
| the complex      |  layer, colour is share,   |
| plane            |  the tick is the median    |
+------------------+                            |
| share by Re      |                            |
+------------------+----------------------------+
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from spectrakit._lazy import lazy_import
from spectrakit.analyses.spectrum.plane_chart import plane_chart
from spectrakit.analyses.spectrum.timescale_chart import timescale_chart
from spectrakit.analyses.spectrum.windows import disc_window, half_plane_window
from spectrakit.display.chart_style import run_style
from spectrakit.display.numbers import percent
from spectrakit.errors import AnalysisError
from spectrakit.tables import LAYERS, SPECTRUM
from spectrakit.tables.distribution import distribution
from spectrakit.tables.summaries import layer_summaries

if TYPE_CHECKING:
    import altair as alt
    import pyarrow as pa
    import pyarrow.compute as pc

    from spectrakit.tables import Run
    from spectrakit.tables.distribution import Distribution
    from spectrakit.tables.summaries import Row
else:
    alt = lazy_import("altair")
    pc = lazy_import("pyarrow.compute")

_WINDOWS = {"discrete": disc_window, "continuous": half_plane_window}


def spectrum_figure(run: Run, domain: str | None = None) -> alt.HConcatChart:
    """The eigenvalues of a run in the complex plane, and their timescales layer by layer.

    `domain` is "discrete" or "continuous"; None takes the first of the two that the run has.

    Raises:
        AnalysisError: the run has no eigenvalues to draw (in that domain).
    """
    domain, eigenvalues = _choose(run, domain)
    layers = run.table(LAYERS.name).select(["layer", "kind", "status"]).to_pylist()
    summaries = layer_summaries(run, domain)
    gauge, comparable = _one_gauge(eigenvalues, summaries)
    window = _WINDOWS[domain](comparable)
    subtitle = [_labels(domain, summaries), _counted(eigenvalues, layers)]
    if gauge is not None:
        subtitle[1] += f"; the plane has the layers in gauge {gauge}"
    if beyond := window.beyond(comparable):
        subtitle[1] += f"; {percent(beyond)} lie outside the plane that is drawn"
    charts = (
        plane_chart(domain, comparable, window),
        timescale_chart(domain, eigenvalues, layers, summaries),
    )
    return alt.hconcat(*charts, spacing=28, **run_style(run, subtitle))


def _choose(run: Run, domain: str | None) -> tuple[str, Distribution]:
    for candidate in _WINDOWS if domain is None else (domain,):
        eigenvalues = distribution(run, candidate, fine_phases=True)
        if len(eigenvalues.count):
            return candidate, eigenvalues
    raise AnalysisError(
        f"{run.manifest.model_id} has no {domain or ''} eigenvalues to draw",
        hint=f"spectrakit inspect {run.manifest.model_id}",
    )


def _one_gauge(eigenvalues: Distribution, summaries: list[Row]) -> tuple[str | None, Distribution]:
    """The eigenvalues that may be laid over each other: those in the gauge of most layers.

    The gauge is None where all layers share it.
    """
    gauges = {row["layer"]: row["gauge"] for row in summaries}
    (gauge, _), *others = Counter(gauges.values()).most_common()
    if not others:
        return None, eigenvalues
    chosen = [layer for layer, own in gauges.items() if own == gauge]
    return gauge, eigenvalues.where(np.isin(eigenvalues.layer, chosen))


def _labels(domain: str, summaries: list[Row]) -> str:
    modes = " + ".join(sorted({row["mode"] for row in summaries}))
    gauges = " + ".join(sorted({row["gauge"] for row in summaries}))
    return f"{modes} · {domain} · gauge {gauges}"


def _counted(eigenvalues: Distribution, layers: list[Row]) -> str:
    drawn = len(np.unique(eigenvalues.layer))
    return f"{eigenvalues.count.sum():,.0f} eigenvalues in {drawn} of {len(layers)} layers"


def is_drawn(name: str, piece: pa.Table) -> bool:
    """Whether a piece of a table says more than the histogram: exact phases, or continuous time.

    Real decays are most of a large model's rows of `spectrum`, and all in the histogram.
    """
    if name != SPECTRUM.name:
        return True
    more = pc.or_(pc.not_equal(piece["im"], 0), pc.equal(piece["domain"], "continuous"))
    return bool(pc.any(more).as_py())
