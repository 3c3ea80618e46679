"""Softmax attention in some layers of a model of fla, as `attn` of its config says.

    "attn": {"layers": [1, 3], "num_heads": 8, "num_kv_heads": 2, "window_size": 512, ...}

or a list of such, each about layers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit_fla.mixers.rotary_attention import RotaryAttention
from spectrakit_fla.options import groups_of, pairs

#: Names of the attention's tensors below `model.layers.N.attn.`, by role.
ATTENTION_NAMES = {
    "query_projection": "q_proj.weight",
    "key_projection": "k_proj.weight",
    "value_projection": "v_proj.weight",
    "output_projection": "o_proj.weight",
    "query_bias": "q_proj.bias",
    "key_bias": "k_proj.bias",
    "value_bias": "v_proj.bias",
}

_KEYS = frozenset({"layers", "num_heads", "num_kv_heads", "qkv_bias", "window_size", "rope_theta"})


def hybrid_attention(config: Configured, count: int) -> Mapping[int, RotaryAttention]:
    """The softmax attention of every layer that has it, by the layer's number out of `count`.

    Raises MalformedError where `attn` is not as described, UnsupportedError where it has a key that
    is not read.
    """
    attention: dict[int, RotaryAttention] = {}
    for options in _specifications(config):
        numbers = config_value(options, "layers", list)
        mixer = _attention(config, options)
        for number in numbers:
            within = isinstance(number, int) and not isinstance(number, bool)
            if not within or not 0 <= number < count or number in attention:
                message = (
                    f"config.json of {config.model_id}: attn.layers has {number!r}, "
                    f"which is no layer of {count}, or has an attention already"
                )
                raise MalformedError(message)
            attention[number] = mixer
    return attention


def _specifications(config: Configured) -> Sequence[PartConfig]:
    found = config.config.get("attn")
    listed: Sequence[Any] = found if isinstance(found, list) else [] if found is None else [found]
    for options in listed:
        if not isinstance(options, dict):
            message = f"config.json of {config.model_id}: attn is {found!r}, expected an object"
            raise MalformedError(message)
        unknown = sorted(options.keys() - _KEYS)
        if unknown:
            message = f"{config.model_id}: attn.{unknown[0]} is not read"
            raise UnsupportedError(message, hint="spectrakit plugins list")
    return [PartConfig(config.model_id, options) for options in listed]


def _attention(config: Configured, options: PartConfig) -> RotaryAttention:
    heads = positive(options, "num_heads")
    width = positive(config, "hidden_size", 2048)
    window = options.config.get("window_size")
    return RotaryAttention(
        heads,
        model_width=width,
        groups=groups_of(options, heads),
        head_width=pairs(config, width, heads),
        window=None if window is None else positive(options, "window_size"),
        rotary_base=config_value(options, "rope_theta", float, 10_000.0),
        bias=config_value(options, "qkv_bias", bool, False),
    )
