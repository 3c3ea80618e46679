"""The tensors of a checkpoint in few lines: those whose names differ by numbers alone are one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spectrakit.checkpoints.entries import TensorEntry

_NUMBER = re.compile(r"(?<![^./_])\d+(?![^./_])")


@dataclass(frozen=True)
class TensorGroup:
    """Tensors of one name, whose numbers are written *: how many, in which shapes and dtypes."""

    name: str
    count: int
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]


def grouped(entries: Iterable[TensorEntry]) -> list[TensorGroup]:
    """The groups, in the order in which their first tensors come."""
    found: dict[str, list[TensorEntry]] = {}
    for entry in entries:
        found.setdefault(_NUMBER.sub("*", entry.name), []).append(entry)
    return [
        TensorGroup(
            name,
            len(own),
            tuple(dict.fromkeys(entry.shape for entry in own)),
            tuple(dict.fromkeys(entry.stored_as for entry in own)),
        )
        for name, own in found.items()
    ]
