"""The keys that transformers' own config classes take, by `model_type`.

Data mode hands them to transformers, which computes what they say; of a key that its class does not
have it says nothing. They are kept in a file beside this one, since importing the classes takes
longer than weights mode. `python -m spectrakit.architectures.transformers_config_keys --write`
brings the file up to date with the installed transformers.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from spectrakit.architectures.config_keys import words

_FILE = Path(__file__).with_suffix(".json")

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
    for model_type, keys in json.loads(_FILE.read_text("utf-8"))["model_types"].items():
        table[model_type] = keys.split()
        if "rope_parameters" in table[model_type]:
            sections = ("rope_parameters", "rope_scaling")
            inner = [f"{kind}.{key}" for kind in _ROPE_LAYERS for key in _ROPE] + list(_ROPE)
            table[model_type] += [f"{section}.{key}" for section in sections for key in inner]
            table[model_type] += [*_ROPE_ALONE, *sections]
        if _LINEAR in table[model_type]:
            table[model_type].append(f"{_LINEAR}.short_conv_kernel_size")
    return table


#: In a modelling file: what it asks of the config beside the fields of its class.
_ASKED = re.compile(r'getattr\(\s*(?:self\.)?config,\s*"([a-z]\w*)"')
#: In the source of a config class: what it takes besides its fields, and what it sets itself.
_TAKEN = (
    re.compile(r'kwargs\.(?:pop|get|setdefault)\(\s*"(\w+)"'),
    re.compile(r'"(\w+)"\s+(?:not )?in kwargs'),
    re.compile(r"self\.([a-z_]\w*)\s*="),
)


def render() -> str:
    """The file, from the installed transformers."""
    import transformers

    from spectrakit.plugins import plugins

    architectures = plugins().register().architectures.things.values()
    types = {t for entry in architectures for t in getattr(entry.thing, "model_types", ())}
    found = {}
    for model_type in sorted(types.intersection(transformers.CONFIG_MAPPING.keys())):
        found[model_type] = " ".join(sorted(_keys(transformers.CONFIG_MAPPING[model_type])))
    document = {"transformers": transformers.__version__, "model_types": found}
    return json.dumps(document, indent=1) + "\n"


def _keys(config_class: type) -> set[str]:
    """Fields, other names of them, and what the class takes besides and makes fields of."""
    from transformers import PretrainedConfig

    base = {field.name for field in dataclasses.fields(PretrainedConfig)}
    keys = {field.name for field in dataclasses.fields(config_class)} - base
    modelling = Path(inspect.getfile(config_class).replace("configuration_", "modeling_"))
    if modelling.is_file():
        keys |= set(_ASKED.findall(modelling.read_text("utf-8")))
    for names in config_class.attribute_map.items():  # type: ignore[attr-defined]
        keys |= set(names)
    for parent in config_class.__mro__:
        if parent.__module__.startswith("transformers.models."):
            source = inspect.getsource(parent)
            keys |= {name for pattern in _TAKEN for name in pattern.findall(source)}
    for section, inner in config_class.sub_configs.items():  # type: ignore[attr-defined]
        if section.endswith("attn_config"):  # of MPT; that of a wrapper is a config of its own
            keys |= {f"{section}.{key}" for key in _keys(inner) | base}
    return keys


def main() -> None:
    """Print the file, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {_FILE.name}")
    if parser.parse_args().write:
        _FILE.write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())


if __name__ == "__main__":
    main()
