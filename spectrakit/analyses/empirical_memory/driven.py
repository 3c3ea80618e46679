"""What was driven, from the stored table of `empirical_memory`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def drive(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was driven in a run with these rows of `empirical_memory`: model, blocks or mixers.

    Where the model has one block, that is the model.
    """
    if rows[0]["layer"] is not None:
        return "mixers"
    return "model" if all(row["driven_depth"] == 0 for row in rows) else "blocks"
