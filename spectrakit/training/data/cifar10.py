"""Sequential CIFAR-10: which of ten things a 32 x 32 image shows, read pixel by pixel.

Gray, as the Long Range Arena has it (Tay et al. 2020, arXiv 2011.04006), or in colour, three values
a position; at 16 x 16 four pixels are averaged into one. A tenth of the training images is for
validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.data.base import Split, TaskOptions, TaskShape
from spectrakit.training.data.hub import HubOptions
from spectrakit.training.data.images import images_of_hub, read_images
from spectrakit.training.data.sequences import ClassifiedData, Examples, held_out

#: Of red, green and blue in what is gray (ITU-R BT.601, as image libraries have it).
_LUMA = np.array([0.299, 0.587, 0.114])
_VALIDATION, _KEY, _CLASSES = 0.1, 0xC1FA, 10


class Cifar10Options(HubOptions):
    """Where the images are, and how they are read."""

    path: Path | None = Field(
        None,
        description="A folder, or a tar archive of one, with train/CLASS/*.png and "
        "test/CLASS/*.png; or the folder of CIFAR-10's binary version.",
    )
    colour: bool = Field(False, description="Three values a pixel, or gray.")
    size: Literal[16, 32] = Field(32, description="Pixels of a side.")
    augment: bool = Field(
        False, description="Whether training images are mirrored and shifted at random."
    )


class Cifar10:
    """The task by name."""

    name: ClassVar[str] = "cifar10"
    summary: ClassVar[str] = "what an image of CIFAR-10 shows, read pixel by pixel"
    options: ClassVar[type[TaskOptions]] = Cifar10Options

    def open(self, options: Cifar10Options, seed: int) -> ClassifiedData:
        """See `Task.open`."""
        if options.path is None and options.hub is None:
            message = "the images of CIFAR-10 do not come with spectrakit"
            hint = (
                "task.hub=uoft-cs/cifar10, or task.path=FOLDER of the binary version "
                "(cs.toronto.edu/~kriz/cifar.html) or of images in train/CLASS and test/CLASS; "
                "digits, mqar, listops, copying, adding and bytes need no download"
            )
            raise UsageError(message, hint=hint)
        read = images_of_hub(options, 32) if options.path is None else read_images(options.path, 32)
        kinds = 1 + max(int(classes.max()) for _, classes in read.values())
        if kinds > _CLASSES:
            place = options.path or options.hub
            raise MalformedError(f"{place} has {kinds} classes, CIFAR-10 has {_CLASSES}")
        splits = {split: Examples(_sequences(x, options), y) for split, (x, y) in read.items()}
        train, validation = held_out(splits["train"], _VALIDATION, _KEY)
        of: dict[Split, Examples] = {
            "train": train, "validation": validation, "test": splits["test"]
        }  # fmt: skip
        channels = 3 if options.colour else 1
        shape = TaskShape(
            "classification", "values", 256, options.size**2, classes=_CLASSES, channels=channels
        )
        return ClassifiedData(shape, of, seed, _Shifted(options.size) if options.augment else None)


@dataclass(frozen=True)
class _Shifted:
    """Mirrored half of the time, and moved by up to an eighth of its side; black comes in."""

    side: int

    def __call__(self, ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Ids (side^2, ...) of an image, changed."""
        image = ids.reshape(self.side, self.side, *ids.shape[1:])
        if rng.random() < 0.5:
            image = image[:, ::-1]
        most = self.side // 8
        down, right = rng.integers(-most, most + 1, size=2)
        moved = np.zeros_like(image)
        rows = slice(max(down, 0), self.side + min(down, 0))
        columns = slice(max(right, 0), self.side + min(right, 0))
        from_rows = slice(max(-down, 0), self.side + min(-down, 0))
        from_columns = slice(max(-right, 0), self.side + min(-right, 0))
        moved[rows, columns] = image[from_rows, from_columns]
        return moved.reshape(ids.shape)


def _sequences(pixels: np.ndarray, options: Cifar10Options) -> np.ndarray:
    """(n, 32, 32, 3) -> (n, size^2) gray, or (n, size^2, 3)."""
    chosen = pixels if options.colour else _gray(pixels)
    if options.size == 16:
        grouped = chosen.reshape(len(chosen), 16, 2, 16, 2, -1)
        means = grouped.mean((2, 4), dtype=np.float32)
        chosen = np.rint(means).astype(np.uint8)
    found = chosen.reshape(len(chosen), options.size**2, -1)
    return found if options.colour else found[..., 0]


def _gray(pixels: np.ndarray) -> np.ndarray:
    # In parts: 50,000 images in float64 are a gigabyte.
    parts = [np.rint(part @ _LUMA).astype(np.uint8) for part in np.array_split(pixels, 64)]
    return np.concatenate(parts)[..., None]
