"""Writes which keys transformers' config classes take: `python docs/config_keys.py --write`.

Into the file beside `spectrakit.architectures.transformers_config_keys`, for every `model_type`
that an architecture reads, from the installed transformers.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
from pathlib import Path

import transformers

from spectrakit.architectures.transformers_config_keys import FILE
from spectrakit.plugins import plugins

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
    architectures = plugins().register().architectures.things.values()
    types = {t for entry in architectures for t in getattr(entry.thing, "model_types", ())}
    found = {}
    for model_type in sorted(types.intersection(transformers.CONFIG_MAPPING.keys())):
        found[model_type] = " ".join(sorted(_keys(transformers.CONFIG_MAPPING[model_type])))
    document = {"transformers": transformers.__version__, "model_types": found}
    return json.dumps(document, indent=1) + "\n"


def _keys(config_class: type) -> set[str]:
    """Fields, other names of them, and what the class takes besides and makes fields of."""
    base = {field.name for field in dataclasses.fields(transformers.PretrainedConfig)}
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
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name}")
    if parser.parse_args().write:
        FILE.write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())


if __name__ == "__main__":
    main()
