"""Sums over the tokens at which a layer's memory was observed, over all batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.memory_function import MemoryFunction

if TYPE_CHECKING:
    import numpy as np
    import torch

    from spectrakit.dynamics.delays import Delays
    from spectrakit.dynamics.memory_function import Past
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

_SEQUENCE: Past = "sequence"


class MemorySamples:
    """Memory functions of some heads at many tokens, added up.

    An observed memory function jumps from token to token. So MF at a delay is the mean over the
    delays from there up to the next one that is taken.
    """

    def __init__(self, heads: int, delays: Delays) -> None:
        self._delays = delays
        self.samples = np.zeros(delays.count, np.int64)
        self._memory = np.zeros((heads, delays.count))
        self._below = np.zeros((heads, delays.count))
        self._pairs = np.zeros(delays.count, np.int64)
        self._within, self._rank, self._moment = np.zeros((3, heads))
        self._longest = 0
        self.tokens = 0

    def add(self, memory: np.ndarray) -> None:
        """MF of each head by delay at one token: (H, delays it has had)."""
        length = memory.shape[1]
        delays = self._delays.kept.numpy()
        seen = int(np.searchsorted(delays, length))
        below = np.concatenate([np.zeros((len(memory), 1)), memory.cumsum(1)], axis=1)
        edges = np.minimum([*delays, self._delays.horizon], length)
        self._memory += np.diff(below[:, edges])
        self._pairs += np.diff(edges)
        self.samples[:seen] += 1
        self._below += below[:, edges[:-1]]
        self._within += below[:, min(self._delays.horizon, length)]
        self._rank += below[:, -1]
        self._moment += memory @ np.arange(length)
        self._longest = max(self._longest, length)
        self.tokens += 1

    def mean(self) -> MemoryFunction:
        """Over the tokens, at the delays that any of them has had."""
        seen = int(np.count_nonzero(self.samples))
        rank = self._rank / self.tokens
        return MemoryFunction(
            delays=self._delays.kept[:seen],
            memory=torch.from_numpy(self._memory[:, :seen] / self._pairs[:seen]),
            below=torch.from_numpy(self._below[:, :seen] / self.tokens),
            within=torch.from_numpy(self._within / self.tokens),
            rank=torch.from_numpy(rank),
            capacity=torch.from_numpy(rank),
            mean_delay=torch.from_numpy(self._moment / np.maximum(self._rank, 1e-300)),
            horizon=min(self._delays.horizon, self._longest),
            past=(_SEQUENCE,) * len(rank),
        )


class KeyRanks:
    """Ranks of key kernels of some heads at many tokens, added up."""

    def __init__(self, heads: int) -> None:
        self._ranks = np.zeros(heads)
        self._keys = 0
        self.tokens = 0

    def add(self, ranks: list[int], keys: int) -> None:
        """The ranks of each head at one token that reads so many keys."""
        self._ranks += ranks
        self._keys += keys
        self.tokens += 1

    def means(self) -> tuple[list[float], float]:
        """The mean rank of each head, and the mean number of keys."""
        return (self._ranks / self.tokens).tolist(), self._keys / self.tokens
