"""The time mixing of RWKV-6 as a whole, around the recurrence of `spectrakit.mixers.rwkv6`.

    d_t                = x_{t-1} - x_t
    s_t^i              = tanh((x_t + m_x d_t) U)_i V_i                (B, T, E), i of w, k, v, r, g
    x_t^i              = x_t + (m_i + s_t^i) d_t
    r_t, k_t, v_t, g_t = W_i x_t^i
    log w_t            = -exp(time_decay + tanh(x_t^w W_1) W_2)       (B, T, A)
    output_t           = W_o (norm(y_t) silu(g_t))

y_t (B, T, H, N) of r, k, v, w and u. B batch, T tokens, H heads, N width of a head, A = H N, E
model width, R rank of the token shift; U (E, 5 R), V (5, R, E). The norm is a layer norm of every
head. Peng et al. 2024 (arXiv 2404.05892), section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers import RWKV6
from spectrakit.mixers.layers import head_norm, in_heads, token_before, widened

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Observation, Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

_PROJECTED = ("key", "value", "receptance", "gate")
#: What is shifted, in the order of U's and V's parts.
SHIFTED = ("decay", *_PROJECTED)


@dataclass(frozen=True, kw_only=True)
class TimeMixing6(RWKV6):
    """H `heads` of width `state_size` N in a model of `model_width` E.

    shift_rank: R. decay_rank: of W_1 W_2.
    """

    model_width: int
    shift_rank: int
    decay_rank: int

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        channels, width = self.heads * self.state_size, self.model_width
        shapes = {
            **super().shapes(),
            "decay_down": (width, self.decay_rank),
            "decay_up": (self.decay_rank, channels),
            "bonus": (self.heads, self.state_size),
            "norm": (channels,),
            "norm_bias": (channels,),
            "output": (width, channels),
            "mix": (1, 1, width),
            "shift_down": (width, len(SHIFTED) * self.shift_rank),
            "shift_up": (len(SHIFTED), self.shift_rank, width),
        }
        shapes |= dict.fromkeys([f"mix_{name}" for name in SHIFTED], (1, 1, width))
        return shapes | dict.fromkeys(_PROJECTED, (channels, width))

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, E), in its dtype but for the recurrence."""
        shifted = self._shifted(hidden, p)
        key, value, receptance = (
            in_heads(functional.linear(shifted[name], p[name]), self.heads)
            for name in ("key", "value", "receptance")
        )
        gate = functional.linear(shifted["gate"], p["gate"])
        change = torch.tanh(shifted["decay"] @ p["decay_down"]) @ p["decay_up"]
        # Widened before the exponential: half precision would overflow in it.
        log_decay = -torch.exp(widened(p["time_decay"] + change))

        def after(y: Tensor) -> Tensor:
            y = head_norm(y, p).to(hidden.dtype)
            return functional.linear(y * functional.silu(gate), p["output"])

        log_decay = log_decay.unflatten(-1, (self.heads, -1))
        return self.observation(receptance, key, value, log_decay, p["bonus"], after)

    def _shifted(self, hidden: Tensor, p: Parameters) -> dict[str, Tensor]:
        """x^i (B, T, E), by name."""
        change = token_before(hidden) - hidden
        down = torch.tanh((hidden + p["mix"] * change) @ p["shift_down"])
        down = down.unflatten(-1, (len(SHIFTED), self.shift_rank))
        up = torch.einsum("btir,ire->ibte", down, p["shift_up"])
        return {
            name: hidden + (p[f"mix_{name}"] + shift) * change
            for name, shift in zip(SHIFTED, up, strict=True)
        }
