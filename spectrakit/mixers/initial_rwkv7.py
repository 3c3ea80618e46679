"""What RWKV-7 starts training from, in the project's own code and in flash-linear-attention.

Both have the same values under other names, so they are by role here. With l of L the layer, n of
E the channel, i = n mod N its place in a head of N, s = 1 - l / L and f = l / (L - 1):

    mix_i          1 - (n / E)^(c s)     c: 0.2 (receptance, gate), 0.7 (key, value), 0.9 (decay,
                                         rate); s^4 in the place of c s in channel mixing
    decay_bias     -5.5 + 6 (n / (E - 1))^(1 + f^0.3) + 2.5 z
    rate_bias      -0.19 + 0.3 z + 0.4 x
    value_bias     0.73 - 0.4 x
    removal        0.71 - 0.1 x          replacement 1.02      bonus -0.04
    norm           ((l + 1) / L)^0.7

    z = w |w|, w = 2 i / (N - 1) - 1     x = n / (E - 1) - 1/2

Matrices are orthogonal, at a gain of 0.1 for keys and for what leads out of a low rank; what leads
into one is zero, and so is what leads into the residual stream: at first no layer changes it.
(github.com/BlinkDL/RWKV-LM, RWKV-v7/train_temp; github.com/fla-org/flash-linear-attention 0.6.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers.draw import Draw
else:
    torch = lazy_import("torch")

_MIXES = {"receptance": 0.2, "gate": 0.2, "key": 0.7, "value": 0.7, "decay": 0.9, "rate": 0.9}
_MATRICES = {"receptance": 1.0, "key": 0.1, "value": 1.0, "output": 0.0}
_CONSTANTS = {"replacement": 1.02, "bonus": -0.04, "norm_bias": 0.0}


@dataclass(frozen=True)
class InitialRWKV7:
    """Of the layer number `layer` out of `layers`, with heads of `head_width` channels.

    rank_axis: which axis of a matrix that leads out of a low rank is that rank.
    """

    layer: int
    layers: int
    head_width: int
    rank_axis: int

    def time_mixing(self, role: str, draw: Draw) -> Tensor:
        """A parameter of the time mixing."""
        if role in _MATRICES:
            return draw.orthogonal(_MATRICES[role]) if _MATRICES[role] else draw.constant(0)
        if role in _CONSTANTS:
            return draw.constant(_CONSTANTS[role])
        if role == "norm":
            return draw.constant(((self.layer + 1) / self.layers) ** 0.7)
        if role.startswith("mix_"):
            return self._mix(draw, _MIXES[role.removeprefix("mix_")] * self._left)
        if role.endswith("_down"):
            return draw.constant(0)
        if role.endswith("_up"):
            rank, channels = draw.shape[self.rank_axis], draw.shape[1 - self.rank_axis]
            return draw.orthogonal(0.1 * math.sqrt(max(1, rank / channels)))
        return self._by_channel(role, math.prod(draw.shape)).view(draw.shape)

    def channel_mixing(self, role: str, draw: Draw) -> Tensor:
        """A parameter of the channel mixing: its `mix`, `key` or `value`."""
        if role == "mix":
            return self._mix(draw, self._left**4)
        return draw.orthogonal() if role == "key" else draw.constant(0)

    @property
    def _left(self) -> float:
        return 1 - self.layer / self.layers

    def _mix(self, draw: Draw, power: float) -> Tensor:
        channels = math.prod(draw.shape)
        share = torch.arange(channels, dtype=torch.float64) / channels
        mixed: Tensor = 1 - share**power
        return mixed.float().view(draw.shape)

    def _by_channel(self, role: str, channels: int) -> Tensor:
        number = torch.arange(channels, dtype=torch.float64)
        along = number / max(channels - 1, 1)
        within = 2 * (number % self.head_width) / max(self.head_width - 1, 1) - 1
        zigzag, linear = within * within.abs(), along - 0.5
        past = self.layer / max(self.layers - 1, 1)
        values: dict[str, Tensor] = {
            "decay_bias": -5.5 + 6 * along ** (1 + past**0.3) + 2.5 * zigzag,
            "rate_bias": -0.19 + 0.3 * zigzag + 0.4 * linear,
            "value_bias": 0.73 - 0.4 * linear,
            "removal": 0.71 - 0.1 * linear,
        }
        return values[role].float()


def embedding(draw: Draw) -> Tensor:
    """The embedding, which a norm follows."""
    return draw.uniform(-1e-4, 1e-4)
