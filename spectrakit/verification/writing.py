"""Writing to a catalog's folder: records and added entries. A file is whole, or as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from spectrakit.catalog.files import parse_family, read_family
from spectrakit.catalog.known import forget
from spectrakit.catalog.places import MODELS
from spectrakit.catalog.records import RECORDS, Record, forget_records, read_records, written
from spectrakit.errors import OutputError
from spectrakit.tables.folders import sync, temporary

if TYPE_CHECKING:
    from pathlib import Path

    from spectrakit.catalog import CatalogEntry


def record(catalog: Path, name: str, seen: Record) -> None:
    """Put what was `seen` of the entry `name` among the records of the folder `catalog`.

    Raises `MalformedError` where its file of records is damaged, `OutputError` where it cannot be
    written.
    """
    records = read_records(catalog) | {name: seen}  # another process may have written some
    _write(catalog / RECORDS, written(records))
    forget_records()


def write_entry(catalog: Path, entry: CatalogEntry) -> Path:
    """Put `entry` at the end of its family's file in the folder `catalog`; the file.

    Raises `MalformedError` where that file is damaged, `OutputError` where it cannot be written.
    """
    path = catalog / MODELS / f"{entry.family}.toml"
    before = f'family = "{entry.family}"\n'
    if path.exists():
        read_family(path, own=entry.own)
        before = path.read_text(encoding="utf-8").rstrip("\n") + "\n"
    text = f"{before}\n{entry_text(entry)}"
    parse_family(text, entry.family, own=entry.own)  # what is written can be read
    _write(path, text)
    forget()
    return path


def entry_text(entry: CatalogEntry) -> str:
    """An entry as family files have it."""
    return "".join(f"{line}\n" for line in (f"[models.{_quoted(entry.name)}]", *_lines(entry)))


def _lines(entry: CatalogEntry) -> Iterator[str]:
    values: dict[str, str | int | bool | tuple[str, ...] | None] = {
        "description": entry.description,
        "repo": entry.repo,
        "file": entry.file,
        "config": entry.config or None,
        "format": entry.format,
        "parameters": entry.parameters,
        "license": entry.license,
        "gated": entry.gated,
        "tokenizer": entry.tokenizer,
        "weights_bytes": entry.weights_bytes,
        "source": entry.page,
        "source_note": entry.page_note,
    }
    for key, value in values.items():
        if value is not None:
            yield f"{key} = {_written(value)}"


def _written(value: str | int | bool | tuple[str, ...]) -> str:
    """A value of TOML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_quoted, value))}]"
    if isinstance(value, str):
        return _quoted(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    """A string of TOML; `text` has no control characters."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _write(path: Path, text: str) -> None:
    partial = temporary(path.parent, path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}",
            hint="SPECTRAKIT_CATALOG=FOLDER names another place",
        ) from error
    finally:
        with suppress(OSError):  # renamed already, or never made
            partial.unlink()
