"""Memory functions as rows of the tables `memory_function` and `memory_summary`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.analyses.memory.tables import MEMORY_FUNCTION, MEMORY_SUMMARY

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.dynamics import HeadAxis, Recurrence
    from spectrakit.dynamics.memory_function import MemoryFunction
    from spectrakit.tables import Sink
else:
    np = lazy_import("numpy")

#: Columns of a table by name: for one row, or the same for all of them.
Row: TypeAlias = dict[str, object]

_SHARES = {"delay_50": 0.5, "delay_90": 0.9}
_LEVELS = {"last_delay_0p5": 0.5, "last_delay_0p1": 0.1, "last_delay_0p01": 0.01}


def labels(layer: Layer, recurrence: Recurrence) -> Row:
    """What the rows of a layer have in common."""
    return {"layer": layer.index, "mode": recurrence.mode}


def write_memory(
    sink: Sink,
    common: Row,
    function: MemoryFunction,
    axis: HeadAxis,
    heads: Sequence[int],
    *,
    curves: bool,
    samples: Sequence[int] | None = None,
) -> None:
    """The mean of the systems, and each of them: `heads` says which of the layer they are.

    common: labels, with `precision` and `inputs`. curves: whether each one's curve is written, too.
    samples: how many tokens stand behind each delay, last the number of all; None where it is
    fixed.
    """
    mean = function.mean()
    everyone: Row = {axis: list(heads)}
    for part, place, systems in ((mean, {}, len(heads)), (function, everyone, 1)):
        summary = _summary(part) | common | place | {"systems": systems}
        summary["samples"] = None if samples is None else samples[-1]
        sink.append(MEMORY_SUMMARY, MEMORY_SUMMARY.table(summary))
    common = {name: value for name, value in common.items() if name != "inputs"}
    columns = _curve(mean) | common
    columns["samples"] = None if samples is None else samples[:-1]
    sink.append(MEMORY_FUNCTION, MEMORY_FUNCTION.table(columns))
    if curves:
        columns = _curve(function) | common
        columns[axis] = np.repeat(heads, len(function.delays))
        columns["samples"] = None if samples is None else np.tile(samples[:-1], len(heads))
        sink.append(MEMORY_FUNCTION, MEMORY_FUNCTION.table(columns))


def write_key_ranks(
    sink: Sink, common: Row, heads: Sequence[int], ranks: Sequence[float], keys: float, samples: int
) -> None:
    """Of softmax attention: the mean over `heads`, and each."""
    mean = sum(ranks) / len(ranks)
    columns = common | {
        "past": "sequence",
        "precision": "exact",
        "head": [None, *heads],
        "systems": [len(heads), *[1] * len(heads)],
        "key_kernel_rank": [mean, *ranks],
        "keys": keys,
        "samples": samples,
        "reason": "softmax attention keeps every key: no state of a fixed size forgets",
    }
    sink.append(MEMORY_SUMMARY, MEMORY_SUMMARY.table(columns))


def write_reason(sink: Sink, common: Row, systems: int, reason: str) -> None:
    """A row for a layer that has no memory function, and why."""
    columns = common | {"past": "infinite", "precision": "exact", "systems": systems}
    sink.append(MEMORY_SUMMARY, MEMORY_SUMMARY.table(columns | {"reason": reason}, rows=1))


def _curve(function: MemoryFunction) -> Row:
    systems, delays = function.memory.shape
    return {
        "past": np.repeat(np.array(function.past, dtype=object), delays),
        "delay": np.tile(function.delays.cpu().numpy(), systems),
        "memory": function.memory.flatten().cpu().numpy(),
        "capacity_below": function.below.flatten().cpu().numpy(),
    }


def _summary(function: MemoryFunction) -> Row:
    columns: Row = {
        "past": list(function.past),
        "rank": _listed(function.rank),
        "capacity": _listed(function.capacity),
        "horizon": function.horizon,
        "capacity_within": _listed(function.within),
        "mean_delay": _listed(function.mean_delay),
    }
    columns |= {name: _counted(function.delay_of_share(at)) for name, at in _SHARES.items()}
    columns |= {name: _counted(function.last_delay_above(at)) for name, at in _LEVELS.items()}
    return columns


def _listed(values: Tensor) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _counted(values: Tensor) -> list[int | None]:
    """Delays as whole numbers, None for NaN and -1."""
    return [int(value) if value >= 0 else None for value in values.tolist()]
