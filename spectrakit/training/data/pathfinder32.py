"""Pathfinder-32: whether two marked ends belong to one dashed path (Linsley et al. 2018, arXiv
1805.08315; in the Long Range Arena, arXiv 2011.04006).

    PATH.npz    x (n, 32, 32) uint8, y (n,) 0 or 1: `numpy.savez`, without pickled objects
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.data.base import Split, TaskOptions, TaskShape
from spectrakit.training.data.damage import DAMAGE
from spectrakit.training.data.sequences import ClassifiedData, Examples, held_out

_KEY = 0xFA7


class PathfinderOptions(TaskOptions):
    """Where the images are."""

    path: Path | None = Field(None, description="A file .npz with x (n, 32, 32) and y (n,).")


class Pathfinder32:
    """The task by name."""

    name: ClassVar[str] = "pathfinder32"
    summary: ClassVar[str] = "whether two ends belong to one path, read pixel by pixel"
    options: ClassVar[type[TaskOptions]] = PathfinderOptions

    def open(self, options: PathfinderOptions, seed: int) -> ClassifiedData:
        """See `Task.open`; a tenth is for validation, a tenth for the test."""
        if options.path is None:
            message = "the images of Pathfinder do not come with spectrakit"
            hint = (
                "task.path=FILE.npz with x (n, 32, 32) uint8 and y (n,); digits needs no download"
            )
            raise UsageError(message, hint=hint)
        examples = _read(options.path)
        rest, test = held_out(examples, 0.1, _KEY)
        train, validation = held_out(rest, 1 / 9, _KEY + 1)
        of: dict[Split, Examples] = {"train": train, "validation": validation, "test": test}
        return ClassifiedData(TaskShape("classification", "values", 256, 1024, classes=2), of, seed)


def _read(path: Path) -> Examples:
    try:
        # A file of our own: numpy leaves its open where the archive is cut.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            images, classes = stored["x"], stored["y"]
    except FileNotFoundError as error:
        hint = "task.path=FILE.npz with x (n, 32, 32) uint8 and y (n,)"
        raise UsageError(f"there is no file {path}", hint=hint) from error
    # TypeError: a .npy, which is one array; MemoryError: a header that tells of more than there is.
    except (*DAMAGE, KeyError, TypeError, MemoryError) as error:
        raise MalformedError(f"{path} holds no arrays x and y: {error}".splitlines()[0]) from error
    fits = images.ndim == 3 and images.shape[1:] == (32, 32) and images.dtype == np.uint8
    if not fits or classes.shape != (len(images),) or len(images) < 20:
        shapes = f"x {images.dtype} {images.shape}, y {classes.shape}"
        raise MalformedError(f"{path} holds {shapes}; wanted x uint8 (n, 32, 32) and y (n,)")
    if not np.isin(classes, (0, 1)).all():
        raise MalformedError(f"{path}: y is 0 or 1")
    return Examples(images.reshape(len(images), -1), classes.astype(np.int64))
