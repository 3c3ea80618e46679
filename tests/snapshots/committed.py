"""The snapshots that are committed, spec_N.json and schema_N.json, and what they must agree with.

The rule: what is added may be added at any time, and the snapshot is written anew. What is removed,
renamed or given another type needs another version: plugins and readers of the old one are then
told so, instead of failing somewhere inside.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.snapshots import interfaces
from tests.snapshots.differences import Differences, differences

FOLDER = Path(__file__).parent
_REFRESH = "python -m tests.snapshots --write"


@dataclass(frozen=True)
class Kind:
    """name: of the files. version: of the constant, with where it is. now: what is in the code."""

    name: str
    version: str
    now: Callable[[], dict[str, Any]]


KINDS = (
    Kind("spec", "SPEC_VERSION in spectrakit/hookspecs.py", interfaces.spec),
    Kind("schema", "SCHEMA_VERSION in spectrakit/tables/columns.py", interfaces.schema),
)


@dataclass(frozen=True)
class Snapshot:
    """One of the two, as it is committed in `folder` and as it is in the code."""

    kind: Kind
    folder: Path = FOLDER

    @cached_property
    def now(self) -> dict[str, Any]:
        """What is in the code."""
        return self.kind.now()

    @property
    def path(self) -> Path:
        """Of the file for the version that the code has."""
        return self.folder / f"{self.kind.name}_{self.now['version']}.json"

    @property
    def found(self) -> Differences | None:
        """From the committed one to the code; None where there is none of this version."""
        if not self.path.exists():
            return None
        return differences(json.loads(self.path.read_text(encoding="utf-8")), self.now)

    @property
    def needs_another_version(self) -> bool:
        """Whether the code breaks what this version promised."""
        return self.found is not None and bool(self.found.breaking)

    def wrong(self) -> str | None:
        """What has to be done, with every difference; None where nothing has."""
        others = [path.name for path in self._files() if path != self.path]
        if self.found is None or others:
            listed = ", ".join(others) or "none"
            return f"{self.path.name} is to be the only snapshot, there is {listed}: {_REFRESH}"
        if self.found.breaking:
            lines = "".join(f"\n  {line}" for line in self.found.breaking)
            return (
                f"what {self.path.name} promises no longer holds:{lines}\nRaise "
                f"{self.kind.version}, say in CHANGELOG.md what others have to change, then "
                f"{_REFRESH}\n(--unreleased where no release has this version yet)"
            )
        if self.found.added:
            lines = "".join(f"\n  {line}" for line in self.found.added)
            return (
                f"{self.path.name} lacks what was added, which breaks nothing:{lines}\n{_REFRESH}"
            )
        return None

    def write(self) -> None:
        """Write what is in the code, in place of any other version."""
        for path in self._files():
            path.unlink()
        self.path.write_text(json.dumps(self.now, indent=1) + "\n", encoding="utf-8")

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.kind.name}_*.json"))
