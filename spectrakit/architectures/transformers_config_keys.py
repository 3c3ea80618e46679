"""The keys that transformers' own config classes take, by `model_type`.

Data mode hands them to transformers, which computes what they say; of a key that its class does not
have it says nothing. They are kept in a file beside this one, since importing the classes takes
longer than weights mode. `python docs/config_keys.py --write` brings the file up to date with the
installed transformers.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from spectrakit.architectures.config_keys import words

#: By `model_type`, the keys of its class.
FILE = Path(__file__).with_suffix(".json")

#: Of the sections that say how positions are rotated, and of those in them for a kind of layer.
_ROPE = words(
    """
    attention_factor beta_fast beta_slow factor high_freq_factor long_factor long_mscale
    llama_4_scaling_beta low_freq_factor max_position_embeddings mrope_interleaved mrope_section
    mscale mscale_all_dim
    original_max_position_embeddings partial_rotary_factor rope_theta rope_type short_factor
    short_mscale truncate type
    """
)
_ROPE_LAYERS = ("full_attention", "sliding_attention", "chunked_attention", "compressed_attention")
#: Older names of what `rope_parameters` holds, which every class that has it takes.
_ROPE_ALONE = words("rope_theta rope_local_base_freq partial_rotary_factor rotary_pct")

#: A section of Kimi delta attention; what else of it a family reads, it says.
_LINEAR = "linear_attn_config"


@functools.cache
def keys_of(model_type: str) -> frozenset[str]:
    """Keys that transformers' class of `model_type` takes; none for a type it does not have."""
    return frozenset(_table().get(model_type, ()))


@functools.cache
def _table() -> Mapping[str, list[str]]:
    table: dict[str, list[str]] = {}
    for model_type, keys in json.loads(FILE.read_text("utf-8"))["model_types"].items():
        table[model_type] = keys.split()
        if "rope_parameters" in table[model_type]:
            sections = ("rope_parameters", "rope_scaling")
            inner = [f"{kind}.{key}" for kind in _ROPE_LAYERS for key in _ROPE] + list(_ROPE)
            table[model_type] += [f"{section}.{key}" for section in sections for key in inner]
            table[model_type] += [*_ROPE_ALONE, *sections]
        if _LINEAR in table[model_type]:
            table[model_type].append(f"{_LINEAR}.short_conv_kernel_size")
    return table
