"""The table `models`: what is known of every entry that a batch was ever asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.zoo.journal import Told, read_journals
from spectrakit.zoo.schemas import MODELS

if TYPE_CHECKING:
    import pyarrow as pa

    from spectrakit.zoo.folder import BatchFolder

#: Of a run's record, and of an outcome: what the table has under the same name.
_RECORDED = ("model_id", "revision", "mode", "architecture", "plugin")
_OUTCOME = ("exit_code", "reason", "hint")


def models_of(folder: BatchFolder) -> pa.Table:
    """A row for every entry that was ever begun, in order of name."""
    told = read_journals(folder.journal)
    names = sorted({*told, *folder.names()})
    rows = [_row(folder, name, told.get(name, Told())) for name in names]
    columns = [column.name for column in MODELS.given]
    return MODELS.table({name: [row.get(name) for row in rows] for name in columns}, len(rows))


def _row(folder: BatchFolder, name: str, told: Told) -> dict[str, Any]:
    row: dict[str, Any] = {"run": name, "model": told.model, "model_id": told.model, "revision": ""}
    if told.failed is not None:
        row |= {column: getattr(told.failed, column) for column in _OUTCOME}
        return row | {"status": "failed", "kind": told.failed.failure}
    record = folder.finished(name)
    if record is None:
        return row | {"status": "unfinished"}
    row |= {column: record[column] for column in _RECORDED}
    return row | {"status": "finished", "model": told.model or record["model_id"]}
