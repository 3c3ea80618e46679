"""Images of classes, from folders, archives of folders, CIFAR's binary files, and the Hub.

    PATH/train/CLASS/NAME.png    PATH/test/CLASS/NAME.jpg      a folder, or a tar archive of it
    PATH/data_batch_1.bin ...    PATH/test_batch.bin           CIFAR-10's binary version
    HUB, such as uoft-cs/cifar10                               columns img or image, and label

CIFAR's "python version" holds pickles, which are not opened here.
"""

from __future__ import annotations

import io
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.data.damage import DAMAGE
from spectrakit.training.data.hub import HubOptions, hub_rows

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_RECORD = 1 + 3 * 32 * 32
#: No image of these data sets is larger, as a file.
_MOST_BYTES = 1 << 22
_SPLITS = ("train", "test")


def read_images(path: Path, side: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pixels (n, side, side, 3) uint8 and classes (n,), by split "train" and "test".

    Classes are numbered in the order of their names. Raises UsageError where there are no such
    images, MalformedError, with the file, where one cannot be read or is of another size.
    """
    if path.is_file() and path.name.endswith(_ARCHIVES):
        return _sorted_out(_in_archive(path), path, side)
    if not path.is_dir():
        raise UsageError(f"{path} is neither a folder nor a tar archive of images")
    if any(path.glob("data_batch_*.bin")):
        return _of_binary(path)
    files = (
        (file.relative_to(path).as_posix(), file)
        for split in _SPLITS
        for file in (path / split).rglob("*")
        if file.suffix.lower() in _IMAGES
    )
    return _sorted_out(((name, _content(file)) for name, file in files), path, side)


def images_of_hub(options: HubOptions, side: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """As `read_images`, of a data set of the Hub."""
    found = {}
    for split in _SPLITS:
        pixels, classes = [], []
        for image, kind in hub_rows(options, split, (("img", "image"), ("label", "labels"))):
            if image.size != (side, side):
                message = f"{options.hub}, {split}: an image is {image.size[0]} x {image.size[1]}"
                raise MalformedError(f"{message}, not {side} x {side}")
            pixels.append(np.asarray(image.convert("RGB"), dtype=np.uint8))
            classes.append(int(kind))
        if not pixels:
            raise UsageError(f"{options.hub} has no images in {split}", hint="another task.hub=")
        found[split] = np.stack(pixels), np.array(classes)
    return found


def _content(file: Path) -> bytes:
    if file.stat().st_size > _MOST_BYTES:
        raise MalformedError(f"{file} is too large for an image of this data set")
    return file.read_bytes()


def _in_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names below the folder that has `train` and `test`, and contents; nothing is extracted."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts
                split = next((i for i, part in enumerate(parts) if part in _SPLITS), None)
                if (
                    not member.isfile()
                    or split is None
                    or not member.name.lower().endswith(_IMAGES)
                ):
                    continue
                if member.size > _MOST_BYTES:
                    message = f"{member.name} in {path} is too large for an image of this data set"
                    raise MalformedError(message)
                opened = archive.extractfile(member)
                assert opened is not None  # noqa: S101  (it is a file)
                yield "/".join(parts[split:]), opened.read()
    except (*DAMAGE, tarfile.TarError) as error:
        raise MalformedError(f"{path} is no whole tar archive: {error}") from error


def _sorted_out(
    files: Iterator[tuple[str, bytes]], path: Path, side: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    found: dict[str, list[tuple[str, str, np.ndarray]]] = defaultdict(list)
    for name, content in files:
        split, *folders, _ = name.split("/")
        if len(folders) != 1:
            raise MalformedError(f"{name} in {path} is not in a folder of its class")
        found[split].append((folders[0], name, pixels_of(content, f"{path}/{name}", side)))
    missing = [split for split in _SPLITS if not found[split]]
    if missing:
        raise UsageError(
            f"{path} has no images in {missing[0]}/CLASS/",
            hint="a folder or archive with train/CLASS/*.png and test/CLASS/*.png, or CIFAR-10's "
            "binary version",
        )
    names = sorted({kind for rows in found.values() for kind, _, _ in rows})
    numbers = {name: number for number, name in enumerate(names)}
    return {
        split: (
            np.stack([pixels for _, _, pixels in sorted(rows, key=lambda row: row[1])]),
            np.array([numbers[kind] for kind, _, _ in sorted(rows, key=lambda row: row[1])]),
        )
        for split, rows in found.items()
    }


def pixels_of(content: bytes, where: str, side: int) -> np.ndarray:
    """An image file's pixels (side, side, 3), uint8. Raises MalformedError, with `where`."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        message = "images are read with Pillow, which is not installed"
        raise UsageError(message, hint="pip install 'spectrakit[train]'") from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.size != (side, side):
                message = f"{where} is {image.size[0]} x {image.size[1]}, not {side} x {side}"
                raise MalformedError(message)
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (*DAMAGE, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise MalformedError(f"{where} is no image that can be read: {error}") from error


def _of_binary(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    files = {"train": sorted(path.glob("data_batch_*.bin")), "test": [path / "test_batch.bin"]}
    return {split: _records(own) for split, own in files.items()}


def _records(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Records of a class and 3 x 32 x 32 bytes, channel by channel."""
    parts = []
    for file in files:
        if not file.is_file():
            raise UsageError(f"{file} is missing", hint="all files of CIFAR-10's binary version")
        content = np.fromfile(file, dtype=np.uint8)
        if len(content) == 0 or len(content) % _RECORD:
            raise MalformedError(f"{file} is not made of records of {_RECORD} bytes")
        rows = content.reshape(-1, _RECORD)
        if rows[:, 0].max() > 9:
            raise MalformedError(f"{file} has a class beyond 9")
        parts.append(rows)
    whole = np.concatenate(parts)
    pixels = whole[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), whole[:, 0].astype(np.int64)
