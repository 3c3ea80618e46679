"""Opening a file of 100,000 tensors, against the reference readers of its header.

Names, shapes and dtypes of all: `safetensors.safe_open`, and `torch.load` onto the device meta.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.checkpoints import Checkpoints
from benchmarks.measure import Row, in_turns, median_seconds, ratio, timed
from spectrakit.checkpoints import open_checkpoint
from tests.support.bare import mamba

_TENSORS = 100_000
_TIMES = 9


def rows(checkpoints: Checkpoints) -> Iterator[Row]:  # noqa: ARG001  (made for the others)
    with tempfile.TemporaryDirectory() as folder:
        for name, path, reference in _files(Path(folder)):
            ours, theirs = in_turns(
                lambda path=path: timed(lambda: open_checkpoint(path).close()),
                lambda path=path, read=reference: timed(lambda: read(path)),
                _TIMES,
            )
            figure = ratio(ours, theirs)
            seconds = f"{median_seconds(ours):.2f} s and {median_seconds(theirs):.2f} s"
            what = f"opening {_TENSORS:,} tensors, {name} / the reference reader"
            yield Row(what, f"{figure:.2f} ({seconds})", "<= 2", figure <= 2)


def _files(folder: Path) -> Iterator[tuple[str, Path, Callable[[Path], object]]]:
    layer = mamba().tensors
    tensors = {
        f"backbone.layers.{index}.mixer.{name}": tensor.clone()
        for index in range(_TENSORS // len(layer) + 1)
        for name, tensor in layer.items()
    }
    tensors = dict(list(tensors.items())[:_TENSORS])
    save_file(tensors, folder / "model.safetensors")
    yield "safetensors", folder / "model.safetensors", _safetensors
    torch.save(tensors, folder / "model.pth")
    yield "torch archive", folder / "model.pth", _torch_archive


def _safetensors(path: Path) -> None:
    """Keeps nothing, which is the fastest that it can be read."""
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118  (it is no dict)
            tensor = file.get_slice(name)
            tensor.get_shape(), tensor.get_dtype()


def _torch_archive(path: Path) -> object:
    return torch.load(path, map_location="meta", weights_only=True)
