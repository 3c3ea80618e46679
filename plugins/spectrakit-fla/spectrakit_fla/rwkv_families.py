"""RWKV-6 and RWKV-7, as fla saves them.

model.layers.0.pre_norm.*              unless `norm_first` is false
model.layers.N.attn_norm.*, .ffn_norm.*, .ffn.*
model.layers.N.attn.{r,k,v,g,w}_proj.linear.*, .x_proj.{0,2}.*, .x_bias, .bonus      RWKV-6
model.layers.N.attn.{r,k,v}_proj.weight, .{w,a,v,g}_lora.lora.*, .x_*, .k_k, .k_a, .r_k   RWKV-7
model.layers.N.attn.g_norm.*, .o_proj.weight

The first files of RWKV-7 have one `.x_x` instead of `.x_r` and others.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.errors import MalformedError
from spectrakit_fla.families import Family, always
from spectrakit_fla.initial import initial_rwkv6, initial_rwkv7
from spectrakit_fla.mixers.rwkv6 import RWKV6Layer
from spectrakit_fla.mixers.rwkv7 import RWKV7Layer
from spectrakit_fla.model import BLOCKS
from spectrakit_fla.options import split, times
from spectrakit_fla.rwkv_model import RWKV6Model, RWKV7Model

if TYPE_CHECKING:
    from spectrakit.architectures.initial_weights import Initial

_READ_OUT = {"norm": "g_norm.weight", "norm_bias": "g_norm.bias", "output": "o_proj.weight"}
_RWKV6_NAMES = _READ_OUT | {
    "mix": "x_proj.0.mu",
    "mix_down": "x_proj.0.linear.weight",
    "mix_up": "x_proj.2.weight",
    "mix_bias": "x_bias",
    "receptance": "r_proj.linear.weight",
    "key": "k_proj.linear.weight",
    "value": "v_proj.linear.weight",
    "gate": "g_proj.linear.weight",
    "decay_down": "w_proj.linear.lora.0.weight",
    "decay_up": "w_proj.linear.lora.2.weight",
    "decay_bias": "w_proj.linear.lora.2.bias",
    "bonus": "bonus",
}
_LETTERS = {
    "receptance": "r",
    "decay": "w",
    "key": "k",
    "value": "v",
    "rate": "a",
    "gate": "g",
}
_LOW_RANK = {"down": "0.weight", "up": "2.weight", "bias": "2.bias"}
_RWKV7_NAMES = {
    **_READ_OUT,
    "receptance": "r_proj.weight",
    "key": "k_proj.weight",
    "value": "v_proj.weight",
    "removal": "k_k",
    "replacement": "k_a",
    "bonus": "r_k",
    **{f"mix_{role}": f"x_{letter}" for role, letter in _LETTERS.items()},
    **{
        f"{role}_{part}": f"{letter}_lora.lora.{tensor}"
        for role, letter in _LETTERS.items()
        for part, tensor in _LOW_RANK.items()
    },
}


def rwkv6(config: Configured, layer: int) -> RWKV6Layer:  # noqa: ARG001  (a family's)
    """The same in every layer."""
    width, heads = positive(config, "hidden_size", 2048), positive(config, "num_heads", 4)
    return RWKV6Layer(
        heads=heads,
        state_size=split(config, times(config, "expand_k", 0.5, width), heads, "keys"),
        head_width=split(config, times(config, "expand_v", 1.0, width), heads, "values"),
        model_width=width,
        mix_rank=positive(config, "proj_low_rank_dim", 32),
        decay_rank=positive(config, "gate_low_rank_dim", 64),
        norm_epsilon=config_value(config, "norm_eps", float, 1e-5),
    )


def rwkv7(config: Configured, layer: int) -> RWKV7Layer:
    """RWKV-7, whose first layer has values of its own only."""
    width = positive(config, "hidden_size", 2048)
    heads = _rwkv7_heads(config, width)
    state_size = split(config, width, heads, "keys")
    larger = state_size / 64  # the ranks that a config leaves open grow with larger heads
    return RWKV7Layer(
        heads=heads,
        state_size=state_size,
        head_width=split(config, _value_width(config, width, layer), heads, "values"),
        model_width=width,
        decay_rank=_rank(config, "decay_low_rank_dim", 64, width, 2.5 * larger),
        rate_rank=_rank(config, "a_low_rank_dim", 64, width, 2.5 * larger),
        gate_rank=_rank(config, "gate_low_rank_dim", 128, width, 5.0),
        value_rank=_rank(config, "v_low_rank_dim", 16, width, 1.7 * larger) if layer else None,
        norm_epsilon=state_size * config_value(config, "norm_eps", float, 1e-5),
        fused=config_value(config, "fuse_norm", bool, True),
    )


def rwkv7_with_one_mix(config: Configured, layer: int) -> RWKV7Layer:
    """RWKV-7, as fla's first version of it has its parameters."""
    return replace(rwkv7(config, layer), one_mix=True)


def _rwkv7_heads(config: Configured, width: int) -> int:
    """`head_dim` decides; where it is null, `num_heads` does.

    Raises MalformedError where the model width is not made of such heads.
    """
    # Null is a value of its own here: without the key, fla has 64.
    if config.config.get("head_dim", 64) is None:
        return positive(config, "num_heads")
    head_width = positive(config, "head_dim", 64)
    if width % head_width:
        message = (
            f"config.json of {config.model_id}: hidden_size = {width} "
            f"is no multiple of head_dim = {head_width}"
        )
        raise MalformedError(message)
    return width // head_width


def _value_width(config: Configured, width: int, layer: int) -> int:
    """`value_dim`: one for all layers, or one for each of them.

    Raises MalformedError where it is neither.
    """
    found = config.config.get("value_dim")
    if not isinstance(found, list):
        return positive(config, "value_dim", width)
    if layer >= len(found) or not isinstance(found[layer], int):
        message = f"config.json of {config.model_id}: value_dim has no size for layer {layer}"
        raise MalformedError(message)
    return int(found[layer])


def _rank(config: Configured, key: str, default: int, width: int, factor: float) -> int:
    """`config[key]`; where it is null, `factor` roots of the model width, to a multiple of 32."""
    if config.config.get(key, default) is None:
        return max(32, round(factor * math.sqrt(width) / 32) * 32)
    return positive(config, key, default)


def _initial_rwkv7(config: Configured) -> Initial:
    width = positive(config, "hidden_size", 2048)
    roles = {name: role for role, name in _RWKV7_NAMES.items()}
    return initial_rwkv7(config, roles, head_width=width // _rwkv7_heads(config, width))


RWKV_FAMILIES = (
    Family(
        "rwkv6",
        rwkv6,
        always(_RWKV6_NAMES),
        ("decay_bias", "bonus"),
        RWKV6Model,
        initial=initial_rwkv6,
    ),
    Family(
        "rwkv7",
        rwkv7_with_one_mix,
        always(_RWKV7_NAMES | {"mix": "x_x"}),
        ("decay_bias", "bonus"),
        RWKV7Model,
        mark=f"{BLOCKS}0.attn.x_x",
        initial=_initial_rwkv7,
    ),
    Family(
        "rwkv7",
        rwkv7,
        always(_RWKV7_NAMES),
        ("decay_bias", "bonus"),
        RWKV7Model,
        initial=_initial_rwkv7,
    ),
)
