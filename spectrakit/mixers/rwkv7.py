"""RWKV-7: a decay for every head and key, and the removal of what is stored along one direction.

    h_t   = (diag(w_t) - (a_t c_t) c_t^T) h_{t-1} + k_t v_t^T         h: (B, H, N, P)
    y_t   = h_t^T r_t                                                 (B, T, H, P)
    w_t   = exp(-e^{-1/2} sigmoid(decay_bias + tanh(x_t W_1) W_2))    (B, T, H, N)

B batch, T tokens, H heads, N key width, P value width. c_t (N,) is the removal key, of length one;
a_t (N,), in (0, 1), says how much of what it finds goes, and a_t c_t is the product entry by entry.
r_t, k_t, v_t, a_t and c_t are made of the token and the one before. w_t is at least exp(-e^{-1/2}),
about .545. Peng et al. 2025 (arXiv 2503.14456), section 4, which writes the transpose of h.

Since a_t >= 0, A_t is similar to a symmetric matrix: its eigenvalues are real and interlace with
the decays w_t, see `DiagonalPlusRankOne`.

Nominal: A_t where the projections are zero, as they are of a zero input. Then w_t is at its bias,
and since c_t is zero nothing is removed, whatever a_t: A = diag(w).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, HeadAxis, Mode, OuterProduct, Recurrence
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")

#: -log w_t is below it.
FASTEST = math.exp(-0.5)


@dataclass(frozen=True)
class RWKV7:
    """The time mixing of RWKV-7: H `heads` with keys of `state_size` N.

    head_width: P; None where values are as wide as keys.
    """

    name: ClassVar[str] = "rwkv7"
    operator: ClassVar[str] = DiagonalPlusRankOne.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    weights_roles: ClassVar[tuple[str, ...]] = ("decay_bias",)
    head_axis: ClassVar[HeadAxis] = "head"

    heads: int
    state_size: int
    head_width: int | None = None

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of the parameter that nominal A needs."""
        return {"decay_bias": (1, 1, self.heads * self.state_size)}

    @staticmethod
    def log_decay(raw: Tensor) -> Tensor:
        """Log w from decay_bias + tanh(x W_1) W_2, of any shape."""
        return -FASTEST * torch.sigmoid(raw)

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the decay at its bias, in float64, and nothing removed."""
        raw = p["decay_bias"].double().reshape(self.heads, self.state_size)
        nothing = torch.zeros_like(raw)
        return Recurrence(
            DiagonalPlusRankOne(self.log_decay(raw), nothing, nothing),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.state_size if self.head_width is None else self.head_width,
        )

    def observed(
        self, receptance: Tensor, key: Tensor, log_decay: Tensor, removal: Tensor, rate: Tensor
    ) -> Recurrence:
        """From r, k, log w, c of length one and a, (B, T, H, N) each and of one dtype.

        It is driven by v (B, T, H, P).
        """
        return Recurrence(
            DiagonalPlusRankOne(log_decay, rate * removal, removal),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.state_size if self.head_width is None else self.head_width,
            input_map=OuterProduct(key),
            output_map=Contraction(receptance),
        )
