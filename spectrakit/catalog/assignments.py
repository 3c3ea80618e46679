"""KEY=VALUE as a config: what a model's files do not say, as the command line takes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def values_of(assignments: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE as a config: a VALUE that is JSON is read as such, any other is a string.

    Raises ValueError for a text without a key.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not key.strip() or not equals:
            raise ValueError(f"{assignment!r} is not KEY=VALUE")
        try:
            found[key.strip()] = json.loads(value)
        except (ValueError, RecursionError):
            found[key.strip()] = value
    return found
