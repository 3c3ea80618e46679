"""What the RWKV project's training code starts from, by version.

With l of L the layer, n of E the channel (n of A in time mixing), s = 1 - l / L, f = l / (L - 1)
and t = n / (A - 1), in versions 5.2 and 6:

    time_mix_*     (n / E)^s, of r and g (n / E)^(s / 2), of v plus 0.3 f
    time_maa_*     1 - the same; in channel mixing 1 - (n / E)^(s^3)
    time_decay     -6 + 5 t^(0.7 + 1.3 f)
    time_faaaa     f (1 - t) + 0.1 ((n + 1) mod 3 - 1)
    time_*_w1      0, time_*_w2 U(-0.01, 0.01)
    ln_x.weight    ((l + 1) / L)^0.7

Matrices are orthogonal, at a gain of 0.1 for keys and gates; the receptance of channel mixing is
zero, and so is what leads into the residual stream: at first no layer changes it. The embedding is
U(-1e-4, 1e-4). Version 7 is in `spectrakit.mixers.initial_rwkv7`.

The code of versions 4, 5.0 and 5.1 takes from its environment and its learning rate what it starts
from, and no file says which they were. (github.com/BlinkDL/RWKV-LM, RWKV-v5 and RWKV-v7.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.errors import UnsupportedError
from spectrakit.mixers.initial_rwkv7 import InitialRWKV7, embedding
from spectrakit.mixers.rwkv7_layer import RWKV7Layer
from spectrakit.wording import named
from spectrakit_rwkv.names import RESIDUAL_NAMES, RWKV7_NAMES
from spectrakit_rwkv.time_mixing5 import TimeMixing5
from spectrakit_rwkv.time_mixing6 import TimeMixing6

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.architectures.base import Layer
    from spectrakit.architectures.initial_weights import Draw, Initial
else:
    torch = lazy_import("torch")

_ROLES_7 = {name: role for role, name in {**RWKV7_NAMES, **RESIDUAL_NAMES}.items()}
_CHANNEL_ROLES_7 = {"x_k": "mix", "key.weight": "key", "value.weight": "value"}
_GAINS = {"att.receptance": 1.0, "att.value": 1.0, "att.key": 0.1, "att.gate": 0.1, "ffn.key": 1.0}


def initial(layers: Sequence[Layer]) -> Initial:
    """Of a model of these layers.

    It raises UnsupportedError for versions whose files do not tell it.
    """

    def drawn(name: str, draw: Draw) -> Tensor:
        for layer in layers:
            if not _is_told(layer):
                message = (
                    f"{layer.kind} before 5.2: what it started from is in its training's "
                    "environment and learning rate, which no file states"
                )
                raise UnsupportedError(message, hint=f"leave {named('randomize')} out")
        if name == "emb.weight":
            return embedding(draw)
        found = re.fullmatch(r"blocks\.(\d+)\.((att|ffn)\..*)", name)
        if found is None:  # a norm
            return draw.constant(1 if name.endswith(".weight") else 0)
        layer = layers[int(found[1])]
        if isinstance(layer.mixer, RWKV7Layer):
            return _version7(layer.mixer, layer.index, len(layers), found[2], draw)
        return _Version5And6(layer.index, len(layers)).weight(found[2], draw)

    return drawn


def _is_told(layer: Layer) -> bool:
    mixer = layer.mixer
    if isinstance(mixer, TimeMixing5):
        return not mixer.shared and mixer.gated and not mixer.log_bonus
    return isinstance(mixer, TimeMixing6 | RWKV7Layer)


def _version7(mixer: RWKV7Layer, layer: int, layers: int, name: str, draw: Draw) -> Tensor:
    scheme = InitialRWKV7(layer, layers, mixer.state_size, rank_axis=0)
    part, _, inside = name.partition(".")
    if part == "ffn":
        return scheme.channel_mixing(_CHANNEL_ROLES_7[inside], draw)
    return scheme.time_mixing(_ROLES_7[inside], draw)


@dataclass(frozen=True)
class _Version5And6:
    """Of the layer number `layer` out of `layers`."""

    layer: int
    layers: int

    @property
    def left(self) -> float:
        return 1 - self.layer / self.layers

    @property
    def past(self) -> float:
        return self.layer / max(self.layers - 1, 1)

    def weight(self, name: str, draw: Draw) -> Tensor:
        """The weight called `name` below `blocks.N.`."""
        module, _, last = name.rpartition(".")
        if module == "att.ln_x":
            return draw.constant(((self.layer + 1) / self.layers) ** 0.7 if last == "weight" else 0)
        if last == "weight":
            gain = _GAINS.get(module)
            return draw.constant(0) if gain is None else draw.orthogonal(gain)
        if last.endswith("_w1"):
            return draw.constant(0)
        if last.endswith("_w2"):
            return draw.uniform(-0.01, 0.01)
        return self._by_channel(module, last, math.prod(draw.shape)).float().view(draw.shape)

    def _by_channel(self, module: str, name: str, channels: int) -> Tensor:
        number = torch.arange(channels, dtype=torch.float64)
        along = number / max(channels - 1, 1)
        if name == "time_decay":
            return -6 + 5 * along ** (0.7 + 1.3 * self.past)
        if name == "time_faaaa":
            return self.past * (1 - along) + 0.1 * ((number + 1) % 3 - 1)
        of_before, letter = name.startswith("time_maa_"), name[-1]
        power = self.left
        if module == "ffn":
            power = self.left**3 if of_before else self.left
        elif letter in "rg":
            power = self.left / 2
        mixed = (number / channels) ** power
        if module == "att" and letter == "v":
            mixed = mixed + 0.3 * self.past
        return 1 - mixed if of_before else mixed
