"""The time mixing of RWKV-5 as a whole, around the recurrence of `spectrakit.mixers.rwkv6`.

    r_t, k_t, v_t, g_t = W_i x_t^i                        x_t^i = m_i x_t + (1 - m_i) x_{t-1}
    output_t           = W_o (norm(y_t) silu(g_t))

y_t (B, T, H, N) of r, k, v and u. B batch, T tokens, H heads, N width of a head, A = H N, E model
width; m_i (E,). The norm is a layer norm of every head. Version 5.0 has no gate g, and 5.2 has a
decay and a bonus for every key, where those before have one for each head; some of them store the
logarithm of the bonus. Peng et al. 2024 (arXiv 2404.05892), section 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers import RWKV5
from spectrakit.mixers.layers import head_norm, in_heads, token_before

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Observation, Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


@dataclass(frozen=True, kw_only=True)
class TimeMixing5(RWKV5):
    """H `heads` of width `state_size` N in a model of `model_width` E.

    gated: whether there is g. log_bonus: whether the bonus is stored as its logarithm.
    """

    model_width: int
    gated: bool = True
    log_bonus: bool = False

    @property
    def projected(self) -> tuple[str, ...]:
        """Roles of the projections of the input."""
        return ("receptance", "key", "value", "gate")[: 4 if self.gated else 3]

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        channels = self.heads * self.state_size
        shapes = {
            **super().shapes(),
            "norm": (channels,),
            "norm_bias": (channels,),
            "output": (self.model_width, channels),
        }
        shapes["bonus"] = shapes["time_decay"]
        for name in self.projected:
            shapes[name] = (channels, self.model_width)
            shapes[f"mix_{name}"] = (1, 1, self.model_width)
        return shapes

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, E), in its dtype but for the recurrence."""
        before = token_before(hidden)
        projected = {
            name: functional.linear(torch.lerp(before, hidden, p[f"mix_{name}"]), p[name])
            for name in self.projected
        }
        receptance, key, value = (
            in_heads(projected[name], self.heads) for name in ("receptance", "key", "value")
        )
        bonus = p["bonus"].view(self.heads, -1)

        def after(y: Tensor) -> Tensor:
            y = head_norm(y, p).to(hidden.dtype)
            gated = y * functional.silu(projected["gate"]) if self.gated else y
            return functional.linear(gated, p["output"])

        bonus = bonus.exp() if self.log_bonus else bonus
        return self.observation(receptance, key, value, bonus, p, after)
