"""A run in the terminal: what each of its analyses shows, and the layers without numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from spectrakit.display.numbers import ranges
from spectrakit.plugins import plugins
from spectrakit.tables import LAYERS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spectrakit.tables import Run


def run_report(run: Run) -> RenderableType:
    """The views of all analyses that wrote tables of `run`, one below the other.

    Then the layers that could not be analysed, with the reason.
    """
    parts: list[RenderableType] = []
    if (compat := run.manifest.settings().get("compat")) is not None:
        parts.append(Text(f"{compat}: {_RELEASED}"))
    registry = plugins().analysis_kinds()
    for name in registry.things:
        kind = registry[name]
        has = any(table.name in run.tables for table in kind.tables)
        if has and kind.view is not None and (shown := kind.view(run)):
            parts += ["", *shown] if parts else shown
    if reasons := list(_reasons(run)):
        parts += ["", *reasons] if parts else reasons
    return Group(*parts)


_RELEASED = (
    "what its released analysis computes, not the eigenvalues of the layers; its own percentages "
    "are in the table released_bins"
)


def _reasons(run: Run) -> Iterator[RenderableType]:
    """One line for each reason that layers have no numbers."""
    groups: dict[tuple[str, str], list[int]] = {}
    for layer in run.table(LAYERS.name).to_pylist():
        if layer["status"] != "analysed":
            key = (layer["status"], layer["reason"] or "no reason given")
            groups.setdefault(key, []).append(layer["layer"])
    for (status, reason), numbers in groups.items():
        several = "s" if len(numbers) > 1 else ""
        yield Text(f"layer{several} {ranges(sorted(numbers))} {status}: {reason}")
