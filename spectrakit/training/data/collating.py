"""Examples of different lengths beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spectrakit.training.data.base import IGNORED, Batch


def batch_of(inputs: Sequence[np.ndarray], targets: Sequence[np.ndarray] | np.ndarray) -> Batch:
    """A batch of ids (T, ...), padded with 0 at the end; targets of positions with IGNORED."""
    lengths = np.array([len(x) for x in inputs], dtype=np.int64)
    longest = int(lengths.max())
    ids = np.zeros((len(inputs), longest, *inputs[0].shape[1:]), dtype=np.int64)
    for row, x in zip(ids, inputs, strict=True):
        row[: len(x)] = x
    if np.ndim(targets[0]) == 0:
        return Batch(ids, np.asarray(targets, dtype=np.int64), lengths)
    wanted = np.full((len(inputs), longest), IGNORED, dtype=np.int64)
    for row, y in zip(wanted, targets, strict=True):
        row[: len(y)] = y
    return Batch(ids, wanted, lengths)
