"""The output tokens whose kernel is taken, and how many tokens each of them stands for.

A sequence of L tokens has L - 1 outputs: its first is left out, since it has nothing but itself to
read. They are cut into at most `OUTPUTS` neighbouring groups, group i of which ends at the share
(i / OUTPUTS)^2 of them: what a token reads changes most early in a sequence, where groups are
single tokens. The token in the middle of a group stands for the whole of it, so that sums over the
groups, each by its size, are those over all outputs, up to how much neighbours differ. Tokens
spread evenly, each counted once, would count early outputs, whose own weight is large, too often.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
else:
    np = lazy_import("numpy")

#: Output tokens per sequence whose kernel is taken.
OUTPUTS = 32


@dataclass(frozen=True)
class OutputTokens:
    """Of a batch of B sequences: R tokens that some of them are looked at.

    times: (R,), rising. stands_for: (B, R), outputs of the sequence that the token is one of; 0
    where a sequence is not looked at there. first: (B,), each sequence's first token.
    """

    times: list[int]
    stands_for: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, valid: Tensor) -> OutputTokens:
        """valid: (B, T) of bool, False on padding, which may be on either side."""
        rows = valid.cpu().numpy()
        chosen: list[dict[int, int]] = []
        for row in rows:
            tokens = np.flatnonzero(row)
            places, sizes = groups(len(tokens) - 1)
            chosen.append(dict(zip(tokens[1:][places].tolist(), sizes.tolist(), strict=True)))
        times = sorted({t for each in chosen for t in each})
        stands_for = np.array([[each.get(t, 0) for t in times] for each in chosen], np.int64)
        return cls(times, stands_for.reshape(len(rows), len(times)), rows.argmax(1))


def groups(outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle of each group of so many outputs, and the groups' sizes."""
    if outputs <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    count = min(outputs, OUTPUTS)
    ends = [0]
    for i in range(1, count + 1):
        ends.append(max(ends[-1] + 1, round(outputs * (i / count) ** 2)))
    ends[-1] = outputs
    sizes = np.array([end - start for start, end in pairwise(ends)])
    return np.array(ends[:-1]) + (sizes - 1) // 2, sizes
