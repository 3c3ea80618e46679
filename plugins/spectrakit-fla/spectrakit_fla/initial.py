"""What fla's models start training from, by the names of their tensors.

    A_log      log U(0, 16); of Kimi delta attention log U(1, 16), or 0 with `safe_gate`
    dt_bias    softplus^-1 of a step that is log-uniform in [0.001, 0.1]
    norms, and what Comba scales with (decay, D)     1
    biases, lower bounds of HGRN, and what RWKV-6 adds (mu, x_bias, bonus)     0
    others     N(0, initializer_range^2): embedding, projections, convolutions, feature maps

RWKV-6 draws the matrices of its time mixing by Glorot & Bengio at a gain of 2^-2.5, and those of
its low rank as RWKV-7 does. As in fla 0.6 with transformers 5, whose `_init_weights` has the last
word on what a layer drew for itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from spectrakit.architectures.base import config_value, positive
from spectrakit.errors import UnsupportedError
from spectrakit.mixers.initial_rwkv7 import InitialRWKV7, embedding
from spectrakit.wording import named

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures.base import Configured
    from spectrakit.architectures.initial_weights import Draw, Initial

_GAIN = 2**-2.5
_ONE = re.compile(r"norm[^.]*\.weight$|\.attn\.(decay|D)$")
_ZERO = re.compile(r"\.bias$|lower_bounds$|\.mu$|\.x_bias$|\.bonus$")
#: Matrices of RWKV-6's time mixing that are of full rank.
_GLOROT = re.compile(r"\.attn\.(([rkvg]|x)_proj\.(linear|0\.linear|2)|o_proj)\.weight$")


def initial(config: Configured, *, rate: tuple[float, float] = (0, 16)) -> Initial:
    """Of a model whose layers have nothing of their own.

    rate: between which exp(A_log) lies.
    """
    std: float = config_value(config, "initializer_range", float, 0.02)

    def drawn(name: str, draw: Draw) -> Tensor:
        if _ONE.search(name):
            return draw.constant(1)
        if _ZERO.search(name):
            return draw.constant(0)
        if name.endswith(".A_log"):
            return draw.uniform(*rate).log()
        if name.endswith(".dt_bias"):
            return draw.step_bias()
        return draw.normal(std)

    return drawn


def initial_kimi_delta(config: Configured) -> Initial:
    """Of Kimi delta attention."""
    safe = config_value(config, "safe_gate", bool, False)
    return initial(config, rate=(1, 1) if safe else (1, 16))


def initial_rwkv6(config: Configured) -> Initial:
    """Of RWKV-6.

    It raises UnsupportedError for hybrids.
    """
    usual = initial(config)

    def drawn(name: str, draw: Draw) -> Tensor:
        if config.config.get("attn"):
            message = "fla's attention in RWKV-6 starts as the version of transformers has it"
            raise UnsupportedError(message, hint=f"leave {named('randomize')} out")
        if name.endswith(".lora.0.weight"):
            return draw.constant(0)
        if name.endswith(".lora.2.weight"):
            channels, rank = draw.shape
            return draw.orthogonal(0.1 * math.sqrt(max(1, rank / channels)))
        return draw.by_both(_GAIN) if _GLOROT.search(name) else usual(name, draw)

    return drawn


_CHANNEL_ROLES = {"x_k": "mix", "key.weight": "key", "value.weight": "value"}


def initial_rwkv7(config: Configured, roles: Mapping[str, str], head_width: int) -> Initial:
    """Of RWKV-7. roles: of its time mixing's parameters, by their names below `attn.`.

    It raises UnsupportedError for the files of fla's first version, which was another.
    """
    usual = initial(config)
    layers = positive(config, "num_hidden_layers", 24)

    def drawn(name: str, draw: Draw) -> Tensor:
        if name == "model.embeddings.weight":
            return embedding(draw)
        found = re.search(r"\.(\d+)\.(attn|ffn)\.(.*)", name)
        if found is None:
            return usual(name, draw)
        scheme = InitialRWKV7(int(found[1]), layers, head_width, rank_axis=1)
        if found[2] == "ffn":
            return scheme.channel_mixing(_CHANNEL_ROLES[found[3]], draw)
        if found[3] == "x_x":
            message = "how fla's first version of RWKV-7 was initialised is not known"
            raise UnsupportedError(message, hint=f"leave {named('randomize')} out")
        return scheme.time_mixing(roles[found[3]], draw)

    return drawn
