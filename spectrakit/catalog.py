"""The catalog: models with a short name, those that ship with spectrakit and those on the Hub."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spectrakit.errors import MalformedError

_FILE = "models.toml"


@dataclass(frozen=True)
class CatalogEntry:
    """One model of the catalog."""

    name: str
    description: str
    source: str  # a Hub repository, or a folder relative to the catalog
    origin: Literal["hub", "bundled"]
    tokenizer: str | None  # of another repository, when the model's own has none
    license: str | None

    @property
    def folder(self) -> Path | None:
        """The folder of a bundled checkpoint, None for one on the Hub."""
        return folder() / self.source if self.origin == "bundled" else None


def folder() -> Path:
    """The catalog's folder: inside the installed package, or at the root of the source tree.

    Raises `MalformedError` when neither is there (a broken installation).
    """
    package = Path(__file__).parent
    for candidate in (package / "_catalog", package.parent / "catalog"):
        if (candidate / _FILE).is_file():
            return candidate
    raise MalformedError(
        f"the catalog ({_FILE}) is missing from this installation",
        hint="pip install --force-reinstall spectrakit",
    )


def entries() -> tuple[CatalogEntry, ...]:
    """All entries, in the file's order. Raises `MalformedError` for a catalog that is damaged."""
    return _read(folder() / _FILE)


def find(name_or_repo_id: str) -> CatalogEntry | None:
    """The entry of this name, or of this Hub repository; None without one."""
    for entry in entries():
        if name_or_repo_id in {entry.name, entry.source if entry.origin == "hub" else entry.name}:
            return entry
    return None


@functools.cache
def _read(path: Path) -> tuple[CatalogEntry, ...]:
    try:
        models = tomllib.loads(path.read_text(encoding="utf-8"))["models"]
        return tuple(_entry(name, model) for name, model in models.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedError(f"the catalog {path} cannot be read: {error!r}") from error


def _entry(name: str, model: dict[str, Any]) -> CatalogEntry:
    if ("repo" in model) == ("folder" in model):
        raise ValueError(f"{name} needs either repo or folder")
    origin: Literal["hub", "bundled"] = "hub" if "repo" in model else "bundled"
    return CatalogEntry(
        name=name,
        description=model["description"],
        source=model["repo" if origin == "hub" else "folder"],
        origin=origin,
        tokenizer=model.get("tokenizer"),
        license=model.get("license"),
    )
