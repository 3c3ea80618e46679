"""Comba: Gated DeltaNet with keys of their own for what is erased and for what is read.

    p_t = sigmoid(inner_decay) k_t                                   (B, T, H, N)
    q_t = q_t - correction p_t                                       (B, T, H, N)
    h_t = e^{g_t} h_{t-1} + beta_t k_t (u_t - h_{t-1}^T p_t)^T       h: (B, H, N, P)
    y_t = h_t^T q_t / sqrt(N)                                        (B, T, H, P)

B batch, T tokens, H heads, N state, P head width; g_t as in `gated_deltanet`, the rest as in
`delta_layer`, with H groups. Hu et al. 2025 (arXiv 2506.02475), section 3. What is stored under p_t
is looked up before the state decays, not after as in Gated DeltaNet:

    A_t = e^{g_t} I - beta_t k_t p_t^T

In fla's kernels all of q_t, k_t and p_t are scaled to length one, p_t after its inner decay. As p_t
is parallel to k_t, that takes the inner decay out of A_t again, but for the epsilon that keeps zero
from being divided by, and leaves it in the correction of q_t alone.

Nominal: A_t where the projections are zero. Then g_t is at its bias, and nothing is erased.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.mixers.layers import unit_length
from spectrakit_fla.mixers.gated_deltanet import GatedDeltaNetLayer
from spectrakit_fla.mixers.scalar_plus_rank_one import ScalarPlusRankOne

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers import Observation, Parameters
else:
    torch = lazy_import("torch")


@dataclass(frozen=True, kw_only=True)
class Comba(GatedDeltaNetLayer):
    """A Comba layer."""

    name: ClassVar[str] = "comba"
    operator: ClassVar[str] = ScalarPlusRankOne.structure

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        own = {"inner_decay": (self.heads,), "correction": (self.heads,)}
        return {**super().shapes(), **own}

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, model width), in its dtype."""
        key = self.key(hidden, p)
        feedback = torch.sigmoid(p["inner_decay"]).unsqueeze(-1) * key
        query = self.query(hidden, p) - p["correction"].unsqueeze(-1) * feedback
        key, feedback, query = (unit_length(x) for x in (key, feedback, query))
        beta, log_decay = self.beta(hidden, p), self.log_decay(hidden, p)
        recurrence = replace(
            self.observed(log_decay, beta, key, query),
            operator=ScalarPlusRankOne(log_decay, beta.unsqueeze(-1) * key, feedback),
        )
        return self.observation(recurrence, hidden, p)
