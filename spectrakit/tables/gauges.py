"""In which of its gauges a layer is shown and compared, where a run has it in several.

Attention is written in gauges dsf and retained. It is shown in the latter, whose eigenvalues belong
to the function that it computes; those of dsf are for comparing with papers that have them. Runs
from before there was a gauge retained have dsf alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from spectrakit.tables.arrow_arrays import numpy_array

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

#: The first that a layer has is shown; one that is not here comes after them.
_ORDER = ("retained", "dsf", "unnormalised")


def shown_gauge(gauges: Collection[str], among: Collection[str] | None = None) -> str:
    """The gauge of a layer to show; one of those `among`, where the layer has such."""
    common = [gauge for gauge in gauges if among is not None and gauge in among]
    return min(common or gauges, key=_rank)


def shared_gauges(own: Collection[str], theirs: Collection[str]) -> tuple[str, str]:
    """In which gauges to set two layers side by side: in one, where both have it."""
    return shown_gauge(own, theirs), shown_gauge(theirs, own)


def in_shown_gauge(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows of a table of one domain are in the gauges that their layers are shown in."""
    gauges = table.column("gauge").to_pylist()
    if len(set(gauges)) < 2:
        return np.ones(len(gauges), bool)
    ranks = np.array([_rank(gauge) for gauge in gauges])
    _, layer = np.unique(numpy_array(table.column("layer")), return_inverse=True)
    first = np.full(layer.max() + 1, len(_ORDER))
    np.minimum.at(first, layer, ranks)
    shown: NDArray[np.bool_] = ranks == first[layer]
    return shown


def _rank(gauge: str) -> int:
    return _ORDER.index(gauge) if gauge in _ORDER else len(_ORDER)
