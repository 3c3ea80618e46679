"""Text files that may be packed."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from spectrakit.errors import UsageError

_OPEN: dict[str, Callable[..., Any]] = {"": open, ".xz": lzma.open, ".gz": gzip.open}


def first_of(folder: Path, names: Sequence[str]) -> tuple[Path, Callable[[], IO[str]]]:
    """The first of these files that there is, also packed, and what opens it as UTF-8 text.

    Raises UsageError where there is none.
    """
    for name in names:
        for ending, opened in _OPEN.items():
            file = folder / f"{name}{ending}"
            if file.is_file():
                return file, partial(opened, file, "rt", encoding="utf-8")
    raise UsageError(f"{folder} has no {names[0]}", hint="task.path=FOLDER with it")
