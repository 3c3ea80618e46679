"""The states that probes are fitted on: one per prompt and depth, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.finite_states import check_finite
from spectrakit.errors import UsageError
from spectrakit.representations.random_projection import projection
from spectrakit.wording import named

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: Fewer random features would lose what the states have.
_LEAST = 16


class PromptStates:
    """States (prompts, features) at each depth, in float32."""

    def __init__(self, prompts: int, memory_bytes: int, seed: int) -> None:
        self._prompts = prompts
        self._memory = memory_bytes
        self._seed = seed
        self._kept: list[np.ndarray] = []
        self._projection: Tensor | None = None
        self._seen = 0

    def add(self, indices: Sequence[int], states: Sequence[Tensor]) -> None:
        """Keep the states (B, E) of a batch of prompts at every depth.

        Raises AnalysisError where one is NaN or Inf, UsageError where the memory is too little.
        """
        if not self._kept:
            self._start(states)
        for depth, at in enumerate(states):
            wide = at.float().cpu()
            norms = torch.linalg.vector_norm(wide, dim=-1, dtype=torch.float64)[:, None]
            check_finite(depth, norms, torch.ones_like(norms, dtype=torch.bool), self._seen)
            if self._projection is not None:
                wide = wide @ self._projection
            self._kept[depth][indices] = wide.numpy()
        self._seen += len(indices)

    @property
    def depths(self) -> Sequence[np.ndarray]:
        """The states at each depth."""
        return self._kept

    def _start(self, states: Sequence[Tensor]) -> None:
        width = states[0].shape[1]
        most = self._memory // (4 * self._prompts * len(states))
        if most < min(_LEAST, width):
            message = (
                f"{self._memory:,} B are too little for {self._prompts:,} states at each of "
                f"{len(states)} depths"
            )
            raise UsageError(message, hint=f"fewer {named('prompts')}")
        self._projection = projection(width, most, self._seed)
        features = min(width, most)
        self._kept = [np.empty((self._prompts, features), np.float32) for _ in states]
