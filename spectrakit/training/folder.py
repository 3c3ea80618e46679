"""The folder of a training run: what is in it, and how it is written so that no kill leaves a half.

training.json                        what the run is, how far it got, which steps are kept
recipe.toml                          the recipe, whole
training.parquet, training_*.parquet the tables, readable while the run goes on
checkpoints/step-00000100/           config.json, model.safetensors: what `analyze` reads;
                                     optimiser.safetensors, state.json: what resuming needs
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectrakit.errors import MalformedError
from spectrakit.tables.folders import plain_errors, sync, temporary

MARKER = "training.json"
CHECKPOINTS = "checkpoints"
FORMAT = 1
_STEP = re.compile(r"step-(\d{8,})")
_MOST_BYTES = 1 << 24


class TrainingFolder:
    """Names and atomic writes in the folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint after `step` updates."""
        return self.path / CHECKPOINTS / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """The steps whose checkpoints are there, ascending."""
        found = (_STEP.fullmatch(path.name) for path in self._checkpoints())
        return sorted(int(match[1]) for match in found if match)

    def read(self) -> dict[str, Any] | None:
        """What the marker says; None where there is none. Raises MalformedError where damaged."""
        path = self.path / MARKER
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise MalformedError(f"{path} is too large for the record of a training run")
            told = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            hint = "its checkpoints can be analysed one by one"
            raise MalformedError(f"{path} cannot be read: {error}", hint=hint) from error
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            message = f"{path} is of another version of the trainer, or of something else"
            raise MalformedError(message, hint="another folder, or the version that wrote it")
        return told

    def write(self, told: Mapping[str, Any]) -> None:
        """Write the marker. Raises OutputError."""
        self.write_text(MARKER, json.dumps({"format": FORMAT, **told}, indent=1) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file whole, or leave the old one. Raises OutputError."""
        with plain_errors(self.path):
            partial = temporary(self.path, name)
            try:
                partial.write_text(text, encoding="utf-8")
                sync(partial)
                partial.replace(self.path / name)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def remove_checkpoint(self, step: int) -> None:
        """Remove one; it is gone at once, whatever happens meanwhile."""
        doomed = self.checkpoint(step)
        aside = doomed.with_name(f".gone-{doomed.name}")
        shutil.rmtree(aside, ignore_errors=True)
        doomed.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a run that was killed left half-written; the caller holds the lock."""
        for path in self._checkpoints():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)

    def _checkpoints(self) -> list[Path]:
        folder = self.path / CHECKPOINTS
        return list(folder.iterdir()) if folder.is_dir() else []
