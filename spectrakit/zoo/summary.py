"""What is known of all models of a batch, when it ends: the tables `models` and `leaderboard`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.errors import OutputError
from spectrakit.tables.reader import read_run
from spectrakit.zoo.journal import Told, read_journals

if TYPE_CHECKING:
    from spectrakit.output import Draw
    from spectrakit.tables import Run
    from spectrakit.zoo.batch import Batch
    from spectrakit.zoo.folder import BatchFolder


def summarise(done: Batch, draw: Draw | None) -> Run | None:
    """The summary of the folder, written anew where this batch changed anything; None without one.

    Another driver may be writing it: then it is left to that one.
    """
    from spectrakit.zoo.results import write_summary

    folder = done.folder
    if not folder.runs.is_dir():
        return None
    try:
        if done.ended.computed or done.ended.failed or not folder.summary.exists():
            write_summary(folder.path, models_of(folder), draw)
        return read_run(folder.summary)
    except OutputError as error:
        if isinstance(error.__cause__, BlockingIOError):
            return None
        raise


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
