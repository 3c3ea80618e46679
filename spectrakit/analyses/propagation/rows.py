"""The rows of the `propagation` table: every depth has every metric, a value or a reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import nan
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.analyses.propagation.tables import METRICS, SEQUENCE_METRICS
from spectrakit.representations.token_sets import POSITION_BINS, TOKEN_SETS, bin_edges

if TYPE_CHECKING:
    import numpy as np

    from spectrakit.analyses.propagation.flow_means import FlowMeans
    from spectrakit.analyses.propagation.tables import Of
else:
    np = lazy_import("numpy")

Row: TypeAlias = dict[str, Any]

#: Why a metric has no value where there are tokens enough.
_UNDEFINED = {
    "straightness": "no token has moved",
    "effective_rank": "the tokens are all the same",
    "participation_ratio": "the tokens are all the same",
}
_ZERO = "the states are 0"


def propagation_rows(means: FlowMeans, longest: int, coordinates: str) -> dict[str, list[Any]]:
    """The columns of the table. longest: tokens of the longest sequence.

    coordinates: which of them the means are of.
    """
    #: Mean, error, tokens and sequences of each set and bin: (columns, 4).
    found: dict[tuple[int, Of, str], np.ndarray] = {}
    for of, names, first, group in means:
        cells = np.stack([group.mean, group.standard_error, group.weight, group.sequences], -1)
        for depth, by_metric in enumerate(cells, first):
            found |= {(depth, of, name): by_metric[i] for i, name in enumerate(names)}
    depths = max(depth for depth, *_ in found)
    rows: list[Row] = []
    for depth in range(depths + 1):
        for of, metrics in METRICS.items():
            for metric in metrics if depth or of == "stream" else ():
                labels = {"depth": depth, "of": of, "metric": metric, "seq_len": longest,
                          "coordinates": coordinates}  # fmt: skip
                own_cells = found.get((depth, of, metric))
                if own_cells is None:  # it looks at two blocks, and there is one
                    reason = "no block before it" if depth < depths else "no block after it"
                    own = [_row(token_set, reason=reason) for token_set in TOKEN_SETS]
                else:
                    own = list(_rows(metric, longest, own_cells))
                rows += [labels | row for row in own]
    return {column: [row[column] for row in rows] for column in rows[0]}


def _rows(metric: str, longest: int, cells: np.ndarray) -> Iterator[Row]:
    """The sets of tokens, then the bins of positions that have any."""
    for token_set, cell in zip(TOKEN_SETS, cells, strict=False):
        needed = 1 + (token_set == "without_first") + (metric in SEQUENCE_METRICS)  # noqa: S105
        reason = None
        if cell[-1] == 0:
            short = f"every sequence has fewer than {needed} tokens"
            reason = short if longest < needed else _UNDEFINED.get(metric, _ZERO)
        yield _row(token_set, cell, reason)
    by_position = cells[len(TOKEN_SETS) :].reshape(-1, POSITION_BINS, cells.shape[-1])
    for token_set, bins in zip(("all", "without_massive"), by_position, strict=False):
        filled = np.flatnonzero(bins[:, -1])
        for low, high, cell in zip(*bin_edges(filled), bins[filled], strict=True):
            yield _row(token_set, cell) | {"position_low": int(low), "position_high": int(high)}


def _row(
    token_set: str, cell: Iterable[float] = (nan, nan, 0, 0), reason: str | None = None
) -> Row:
    value, error, tokens, sequences = (float(entry) for entry in cell)
    return {
        "token_set": token_set,
        "position_low": None,
        "position_high": None,
        "value": value,
        "standard_error": error,
        "tokens": int(tokens),
        "sequences": int(sequences),
        "reason": reason,
    }
