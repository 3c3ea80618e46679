"""The time mixing of RWKV-4 as a whole, around the recurrence of `spectrakit.mixers.rwkv4`.

    r_t, k_t, v_t = W_r x_t^r, W_k x_t^k, W_v x_t^v       x_t^i = m_i x_t + (1 - m_i) x_{t-1}
    output_t      = W_o (sigmoid(r_t) y_t)

y_t (B, T, A) of k and v. B batch, T tokens, A channels of the mixing, E model width; m_i (E,).
Peng et al. 2023 (arXiv 2305.13048), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.mixers import RWKV4
from spectrakit.mixers.layers import token_before

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.mixers import Observation, Parameters
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")

_PROJECTED = ("receptance", "key", "value")


@dataclass(frozen=True)
class TimeMixing4(RWKV4):
    """A of `channels` in a model of `model_width` E."""

    model_width: int

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by role."""
        shapes = {
            **super().shapes(),
            "first": (self.channels,),
            "output": (self.model_width, self.channels),
        }
        for name in _PROJECTED:
            shapes[name] = (self.channels, self.model_width)
            shapes[f"mix_{name}"] = (1, 1, self.model_width)
        return shapes

    def from_input(self, hidden: Tensor, p: Parameters) -> Observation:
        """The layer's equations on `hidden` (B, T, E), in its dtype but for the recurrence."""
        before = token_before(hidden)
        receptance, key, value = (
            functional.linear(torch.lerp(before, hidden, p[f"mix_{name}"]), p[name])
            for name in _PROJECTED
        )

        def after(y: Tensor) -> Tensor:
            return functional.linear(receptance.sigmoid() * y.to(hidden.dtype), p["output"])

        return self.observation(key, value, p["first"], p, after)
