"""A recipe as TOML again, whole: what a run's folder holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectrakit.training.recipes.schema import Recipe


#: What has a value where it is left out: "none" says that it is not to be.
_OFF = (("optimiser", "clip"), ("tracking", "every"))


def as_toml(recipe: Recipe) -> str:
    """Every key and value; those that are null are left out, where that says the same."""
    record = recipe.record()
    for table, key in _OFF:
        if record[table][key] is None:
            record[table][key] = "none"
    return "\n".join(_lines(record)) + "\n"


def _lines(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    for key, value in table.items():
        if key not in tables and value is not None:
            yield f"{key} = {_value(value)}"
    for key, value in tables.items():
        yield ""
        yield f"[{prefix}{key}]"
        yield from _lines(value, f"{prefix}{key}.")


def _value(value: Any) -> str:  # noqa: ANN401  (a value of JSON)
    if isinstance(value, list):
        return f"[{', '.join(_value(each) for each in value)}]"
    # JSON's strings, numbers and booleans are TOML's, but for whole powers of ten.
    return json.dumps(value, ensure_ascii=True)
