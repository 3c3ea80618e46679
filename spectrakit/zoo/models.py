"""What is known of all models that a batch was ever asked for: the rows of the table `models`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.zoo.journal import Told, read_journals

if TYPE_CHECKING:
    from spectrakit.zoo.folder import BatchFolder


def models_of(folder: BatchFolder) -> list[dict[str, Any]]:
    """A row of the table `models` for every entry that was ever begun, in order of name."""
    told = read_journals(folder.journal)
    names = sorted({*told, *folder.names()})
    return [_row(folder, name, told.get(name, Told())) for name in names]


def _row(folder: BatchFolder, name: str, told: Told) -> dict[str, Any]:
    record = folder.finished(name)
    if record is not None and told.failed is None:
        return {"run": name, "model": told.model or record["model_id"], "status": "finished"} | {
            column: record[column]
            for column in ("model_id", "revision", "mode", "architecture", "plugin")
        }
    row: dict[str, Any] = {"run": name, "model": told.model, "status": "unfinished"}
    if told.failed is not None:
        row |= {"status": "failed", "kind": told.failed.failure}
        row |= {column: getattr(told.failed, column) for column in ("exit_code", "reason", "hint")}
    return row
