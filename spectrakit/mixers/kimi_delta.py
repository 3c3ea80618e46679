"""Kimi delta attention (KDA): the gated delta rule with a decay of every key channel of its own.

    g_t    = -exp(A_log) softplus(s_t + step_bias)                              (B, T, H, N)
             or, bounded,  lower_bound sigmoid(exp(A_log) (s_t + step_bias))
    beta_t = sigmoid(b_t)                                                       (B, T, H)
    h_t    = (I - beta_t k_t k_t^T) diag(e^{g_t}) h_{t-1} + beta_t k_t u_t^T    h: (B, H, N, P)
    y_t    = h_t^T q_t / sqrt(N)                                                (B, T, H, P)

B batch, T tokens, H heads, P head width, N state. A_log has one entry per head, step_bias one per
channel. s_t, b_t, k_t, q_t and u_t are projections of the input without a bias, the last three
after a short convolution; k_t and q_t are then scaled to length one.
Kimi Team 2025 (arXiv 2510.26692), section 3; the bound is that of the "safe gate" of fla, and
keeps g_t in (lower_bound, 0).

Nominal: A_t where the projections are zero, as they are of a zero input. Then g_t is at its bias,
and since k_t is zero nothing is erased, whatever beta_t: A = diag(e^g). Given g_t, the eigenvalues
on tokens interlace with the decays e^{g_t}, whatever k_t: each lies between two of them, but for
the smallest, which lies below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, DiagonalDecay, HeadAxis, Mode, OuterProduct, Recurrence
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class KimiDelta:
    """A Kimi delta attention layer: H `heads` of width P and `state_size` N.

    lower_bound: of the log-decay; None where it has none, and softplus makes it. rate_shape: of
    A_log as it is stored, (H,) or with axes of size one around.
    """

    name: ClassVar[str] = "kimi_delta"
    operator: ClassVar[str] = DiagonalPlusRankOne.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    weights_roles: ClassVar[tuple[str, ...]] = ("A_log", "step_bias")
    head_axis: ClassVar[HeadAxis] = "head"

    heads: int
    head_width: int
    state_size: int
    rate_shape: tuple[int, ...]
    lower_bound: float | None = None

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        return {"A_log": self.rate_shape, "step_bias": (self.heads * self.state_size,)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the decays at their bias, and nothing erased."""
        # In float64, and widened before the exponential: half precision would overflow in it.
        rate = torch.exp(p["A_log"].double()).reshape(self.heads, 1)
        bias = p["step_bias"].double().reshape(self.heads, self.state_size)
        return Recurrence(
            DiagonalDecay(self.decay_gate(rate, bias)),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
        )

    def decay_gate(self, rate: Tensor, biased: Tensor) -> Tensor:
        """g (..., H, N) from exp(A_log) (H, 1) and s_t + step_bias (..., H, N)."""
        if self.lower_bound is None:
            return -rate * functional.softplus(biased)
        return self.lower_bound * torch.sigmoid(rate * biased)

    def observed(self, log_decay: Tensor, beta: Tensor, key: Tensor, query: Tensor) -> Recurrence:
        """From g (B, T, H, N), beta (B, T, H), and k and q (B, T, H, N) of length one."""
        return Recurrence(
            DiagonalPlusRankOne.decay_then_erase(log_decay, beta, key),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            input_map=OuterProduct(key, gain=beta),
            output_map=Contraction(query * self.state_size**-0.5),
        )
