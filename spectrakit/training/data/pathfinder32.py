"""Pathfinder-32: whether two marked ends belong to one dashed path (Linsley et al. 2018, arXiv
1805.08315; in the Long Range Arena, arXiv 2011.04006).

    PATH.npz    x (n, 32, 32) uint8, y (n,) 0 or 1: `numpy.savez`, without pickled objects
    PATH        the folder pathfinder32 of the Long Range Arena's release, or one of a difficulty in
                it: metadata/N.npy, which are text, with a line "imgs/N NAME.png . LABEL ..." for
                each image; one image of the release is an empty file, and left out
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.data.base import Split, TaskOptions, TaskShape
from spectrakit.training.data.damage import DAMAGE
from spectrakit.training.data.images import pixels_of
from spectrakit.training.data.sequences import ClassifiedData, Examples, held_out

_KEY = 0xFA7
#: Folders of the release.
_LEVELS = {
    "easy": "curv_baseline", "intermediate": "curv_contour_length_9",
    "hard": "curv_contour_length_14",
}  # fmt: skip


class PathfinderOptions(TaskOptions):
    """Where the images are."""

    path: Path | None = Field(
        None,
        description="A file .npz with x (n, 32, 32) and y (n,), or the folder pathfinder32 of the "
        "Long Range Arena.",
    )
    difficulty: Literal["easy", "intermediate", "hard"] = Field(
        "hard", description="Which of that folder's: contours of 6, 9 or 14 dashes."
    )


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
                "task.path=FOLDER pathfinder32 of the Long Range Arena's release "
                "(github.com/google-research/long-range-arena), or FILE.npz with x (n, 32, 32) "
                "uint8 and y (n,); digits needs no download"
            )
            raise UsageError(message, hint=hint)
        whole = options.path.is_dir()
        examples = of_release(options.path, options.difficulty) if whole else _read(options.path)
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


def of_release(path: Path, difficulty: str) -> Examples:
    """The images of a difficulty, in the order of their numbers."""
    level = path / _LEVELS[difficulty]
    folder = level if level.is_dir() else path
    lists = [file for file in (folder / "metadata").glob("*.npy") if file.stem.isdecimal()]
    if not lists:
        message = f"{folder} has no metadata/N.npy"
        raise UsageError(message, hint="task.path=FOLDER pathfinder32 of the release")
    images, classes = [], []
    for file in sorted(lists, key=lambda file: int(file.stem)):
        for image, label in _listed(file, folder):
            if content := image.read_bytes():
                images.append(pixels_of(content, str(image), 32)[..., 0].reshape(-1))
                classes.append(label)
    if len(images) < 20:
        raise MalformedError(f"{folder} has {len(images)} images")
    return Examples(np.stack(images), np.array(classes, dtype=np.int64))


def _listed(file: Path, folder: Path) -> Iterator[tuple[Path, int]]:
    """Images and labels; none lies outside the folder."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except DAMAGE as error:
        raise MalformedError(
            f"{file} is not the text that it is in the release: {error}"
        ) from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) < 4 or words[3] not in ("0", "1"):
            raise MalformedError(f"{file}, line {number}: wanted a folder, a name, ., and 0 or 1")
        name = PurePosixPath(words[0], words[1])
        if name.is_absolute() or ".." in name.parts or not (folder / name).is_file():
            raise MalformedError(f"{file}, line {number}: there is no image {name}")
        yield folder / name, int(words[3])
