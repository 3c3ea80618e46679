"""Gated DeltaNet: a state that decays, and in which a key's new value replaces the old one.

    g_t    = -exp(A_log) softplus(s_t + step_bias)                              (B, T, H)
    beta_t = sigmoid(b_t), or twice that where eigenvalues may be negative      (B, T, H)
    h_t    = e^{g_t} (I - beta_t k_t k_t^T) h_{t-1} + beta_t k_t u_t^T          h: (B, H, N, P)
    y_t    = h_t^T q_t / sqrt(N)                                                (B, T, H, P)

B batch, T tokens, H heads, P head width, N state, G groups: heads of the keys and queries, each
shared by H / G heads. s_t, b_t, k_t, q_t and u_t are projections of the input without a bias, the
last three after a short convolution; k_t and q_t are then scaled to length one.
Yang, Kautz & Hatamizadeh 2024 (arXiv 2412.06464), section 3. What is erased along k_t has the
weight beta_t of what is written there: the value stored under k_t moves towards u_t.

Nominal: A_t where the projections are zero, as they are of a zero input. Then g_t is at its bias,
and since k_t is zero nothing is erased, whatever beta_t: A = e^g I. On tokens N - 1 of the N
eigenvalues are e^{g_t} whatever k_t; the one along k_t is e^{g_t} (1 - beta_t).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import Contraction, HeadAxis, Mode, OuterProduct, Recurrence, ScalarDecay
from spectrakit.dynamics.delta import DeltaRule

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True)
class GatedDeltaNet:
    """A Gated DeltaNet layer: H `heads` of width P and `state_size` N; keys in G `groups`."""

    name: ClassVar[str] = "gated_deltanet"
    operator: ClassVar[str] = DeltaRule.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    weights_roles: ClassVar[tuple[str, ...]] = ("A_log", "step_bias")
    head_axis: ClassVar[HeadAxis] = "head"

    heads: int
    head_width: int
    state_size: int
    groups: int

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        return {"A_log": (self.heads,), "step_bias": (self.heads,)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the decay at its bias, and nothing erased."""
        # In float64, and widened before the exponential: half precision would overflow in it.
        rate = torch.exp(p["A_log"].double())
        step = functional.softplus(p["step_bias"].double())
        return Recurrence(
            ScalarDecay(-rate * step, self.state_size),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
        )

    def observed(self, log_decay: Tensor, beta: Tensor, key: Tensor, query: Tensor) -> Recurrence:
        """From g and beta (B, T, H), and k and q (B, T, G, N) of length one."""
        key = key.repeat_interleave(self.heads // key.shape[2], dim=2)
        return Recurrence(
            DeltaRule(log_decay, beta, key),
            mode="data",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.head_width,
            input_map=OuterProduct(key, gain=beta),
            output_map=Contraction(query * self.state_size**-0.5),
        )
