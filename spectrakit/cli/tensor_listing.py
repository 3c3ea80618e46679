"""What `inspect` shows of a checkpoint that no architecture reads: its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spectrakit.cli.console import format_bytes, print_data, print_json

if TYPE_CHECKING:
    from spectrakit.checkpoints import Checkpoint
    from spectrakit.checkpoints.listing import TensorGroup
    from spectrakit.errors import SpectrakitError

#: Lines of a listing; a JSON document has all.
_SHOWN = 60


def show_tensors(
    checkpoint: Checkpoint, looks_like: str | None, error: SpectrakitError, *, json: bool
) -> None:
    """Print the tensors of `checkpoint`, which could not be read for the reason `error`."""
    from spectrakit.checkpoints.listing import grouped

    groups = grouped(checkpoint.tensors.values())
    if json:
        print_json(_document(checkpoint, groups, looks_like, error))
        return
    size = sum(file.size for file in checkpoint.files)
    formats = ", ".join(sorted({file.format for file in checkpoint.files}))
    print_data(
        f"{checkpoint.model_id}\n"
        f"  files        {len(checkpoint.files)} {formats}, {format_bytes(size)}\n"
        f"  tensors      {len(checkpoint.tensors):,}\n"
        f"  looks like   {looks_like or 'nothing that is known here'}"
    )
    print_tensors(groups)


def print_tensors(groups: Sequence[TensorGroup]) -> None:
    """A line for every group, up to what fits on a screen or two."""
    width = min(60, max((len(group.name) for group in groups[:_SHOWN]), default=0))
    for group in groups[:_SHOWN]:
        shapes = " ".join("x".join(map(str, shape)) or "scalar" for shape in group.shapes[:3])
        more = " ..." if len(group.shapes) > 3 else ""
        print_data(
            f"  {group.name:{width}}  {group.count:>4}  {'/'.join(group.dtypes)} {shapes}{more}"
        )
    if len(groups) > _SHOWN:
        print_data(f"  and {len(groups) - _SHOWN} more (--json lists all)")


def listed(groups: Sequence[TensorGroup]) -> list[Mapping[str, Any]]:
    """The groups as JSON values."""
    return [
        {
            "name": group.name,
            "count": group.count,
            "shapes": [list(shape) for shape in group.shapes],
            "dtypes": list(group.dtypes),
        }
        for group in groups
    ]


def _document(
    checkpoint: Checkpoint,
    groups: Sequence[TensorGroup],
    looks_like: str | None,
    error: SpectrakitError,
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "model_id": checkpoint.model_id,
        "source": checkpoint.source,
        "files": [asdict(file) for file in checkpoint.files],
        "error": error.message,
        "looks_like": looks_like,
        "tensors": listed(groups),
    }
