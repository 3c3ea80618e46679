"""RWKV-5 and RWKV-6: a decay for every head and key, a parameter in 5, of each token in 6.

    S_t  = diag(w_t) S_{t-1} + k_t v_t^T                              S: (B, H, N, P)
    y_t  = (S_{t-1} + diag(u) k_t v_t^T)^T r_t                        (B, T, H, P)
    w_t  = exp(-exp(time_decay)),             u = time_faaaa          RWKV-5: (H, N)
    w_t  = exp(-exp(time_decay + tanh(x_t W_1) W_2))                  RWKV-6: (B, T, H, N)

B batch, T tokens, H heads, N key width, P value width. r_t, k_t and v_t are projections of the
token and the one before. Peng et al. 2024 (arXiv 2404.05892), sections 4.1 and 4.2.

y_t is read before token t is written. As in RWKV-4, the state of the recurrence is one token late,

    h_t  = S_{t-1} = diag(w_{t-1}) h_{t-1} + k_{t-1} v_{t-1}^T

so that A_t is the decay of the token before, and the present token reaches y_t through u. Before
the third token there is nothing that a decay acts on.

Nominal (RWKV-6): the decay where what a token adds to it, tanh(x_t W_1) W_2, is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.dynamics import (
    Contraction,
    DiagonalDecay,
    HeadAxis,
    Mode,
    OuterProduct,
    Recurrence,
)
from spectrakit.mixers.base import Observation
from spectrakit.mixers.layers import token_before

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers.base import Parameters
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class RWKV5:
    """The time mixing of RWKV-5: H `heads` with keys of `state_size` N.

    shared: one decay for all N keys of a head, as the first versions had it. head_width: P; None
    where values are as wide as keys.
    """

    name: ClassVar[str] = "rwkv5"
    operator: ClassVar[str] = DiagonalDecay.structure
    weights_mode: ClassVar[Mode | None] = "static"
    weights_roles: ClassVar[tuple[str, ...]] = ("time_decay",)
    head_axis: ClassVar[HeadAxis] = "head"

    heads: int
    state_size: int
    shared: bool = False
    head_width: int | None = None

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of the parameter that A needs."""
        return {"time_decay": (self.heads,) if self.shared else (self.heads, self.state_size)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """The decay, in float64. Keys need tokens."""
        return Recurrence(
            DiagonalDecay(self._log_decay(p)),
            mode="static",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.state_size if self.head_width is None else self.head_width,
        )

    def observation(
        self,
        receptance: Tensor,
        key: Tensor,
        value: Tensor,
        bonus: Tensor,
        p: Parameters,
        after: Callable[[Tensor], Tensor] | None = None,
    ) -> Observation:
        """From r and k (B, T, H, N), v (B, T, H, P) and u (H, N) or (H, 1), of one dtype.

        after: what the layer makes of y_t (B, T, H, P): norm, gate and output projection. The
        decays are in float64, as from weights.
        """
        operator = DiagonalDecay(self._log_decay(p))
        return _one_token_late(operator, "static", receptance, key, value, bonus, after)

    def _log_decay(self, p: Parameters) -> Tensor:
        # Widened before the exponential: half precision would overflow in it.
        decay = -p["time_decay"].double().exp().view(self.heads, -1)
        return decay.expand(-1, self.state_size)


@dataclass(frozen=True)
class RWKV6:
    """The time mixing of RWKV-6: H `heads` with keys of `state_size` N.

    head_width: P; None where values are as wide as keys.
    """

    name: ClassVar[str] = "rwkv6"
    operator: ClassVar[str] = DiagonalDecay.structure
    weights_mode: ClassVar[Mode | None] = "nominal"
    weights_roles: ClassVar[tuple[str, ...]] = ("time_decay",)
    head_axis: ClassVar[HeadAxis] = "head"

    heads: int
    state_size: int
    head_width: int | None = None

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of the parameter that A needs."""
        return {"time_decay": (1, 1, self.heads * self.state_size)}

    def from_weights(self, p: Parameters) -> Recurrence:
        """Nominal: the decay at its bias, in float64."""
        decay = -p["time_decay"].double().exp().view(self.heads, self.state_size)
        return Recurrence(
            DiagonalDecay(decay),
            mode="nominal",
            gauge="unnormalised",
            head_axis=self.head_axis,
            width=self.state_size if self.head_width is None else self.head_width,
        )

    def observation(
        self,
        receptance: Tensor,
        key: Tensor,
        value: Tensor,
        log_decay: Tensor,
        bonus: Tensor,
        after: Callable[[Tensor], Tensor] | None = None,
    ) -> Observation:
        """From r, k and log w (B, T, H, N), v (B, T, H, P) and u (H, N), of one dtype.

        after: what the layer makes of y_t (B, T, H, P): norm, gate and output projection.
        """
        operator = DiagonalDecay(token_before(log_decay))
        return _one_token_late(operator, "data", receptance, key, value, bonus, after)


def _one_token_late(
    operator: DiagonalDecay,
    mode: Mode,
    receptance: Tensor,
    key: Tensor,
    value: Tensor,
    bonus: Tensor,
    after: Callable[[Tensor], Tensor] | None,
) -> Observation:
    """The recurrence of h_t = S_{t-1}, and `finish`, which adds the present token to what it reads.

    operator: of the decays that A_t is, those of the token before.
    """
    batch, tokens = key.shape[:2]
    token = torch.arange(tokens, device=key.device)
    dtype = operator.log_decay.dtype  # of the state: float64 where the decays are
    recurrence = Recurrence(
        operator,
        mode=mode,
        gauge="unnormalised",
        head_axis="head",
        width=value.shape[-1],
        input_map=OuterProduct(token_before(key).to(dtype)),
        output_map=Contraction(receptance.to(dtype)),
        starts=(token < 2).expand(batch, tokens),
    )
    present = (receptance * bonus * key).sum(-1, keepdim=True) * value

    def finish(y: Tensor) -> Tensor:
        y = y + present
        return y if after is None else after(y)

    return Observation(recurrence, token_before(value), finish)
