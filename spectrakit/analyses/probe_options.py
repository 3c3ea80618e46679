"""What the `probe` analysis may be told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from spectrakit.errors import UsageError


@dataclass(frozen=True)
class ProbeOptions:
    """task: by name. task_file: records the task is made of, where it does not make its own.
    prompts: at most, in all. pairs: items of a prompt (pairs, passages); None for all that a file's
    records have, or else the task's own number. positions: of the item that is asked for, at most.

    folds: of sources; each is held out once. memory_bytes: the most that states may take; they are
    projected at random where they would take more.
    """

    task: str = "kv-retrieval"
    task_file: Path | None = None
    prompts: int = 200
    pairs: int | None = None
    positions: int = 5
    folds: int = 5
    memory_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        """Raises UsageError for what means nothing."""
        if self.pairs is not None and self.pairs < 2:
            message = f"a prompt of {self.pairs} has nothing to choose from"
            raise UsageError(message, hint="--pairs 10")
        for name, least in (("prompts", 1), ("positions", 2), ("folds", 2), ("memory_bytes", 1)):
            if getattr(self, name) < least:
                message = f"the {name} of probing must be at least {least}"
                raise UsageError(message)

    def record(self) -> dict[str, object]:
        """What of it belongs in a run's record."""
        file = self.task_file
        with_file = {} if file is None else {"task_file": file.name, "task_sha256": _sha256(file)}
        return {"task": self.task, **with_file, "prompts": self.prompts, "pairs": self.pairs,
                "positions": self.positions, "folds": self.folds}  # fmt: skip

    def sources(self, items: int) -> int:
        """How many sources of so many items make `prompts` prompts, one for each gold position."""
        return self.prompts // min(items, self.positions)


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
