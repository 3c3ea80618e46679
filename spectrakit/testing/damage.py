"""Copies of a checkpoint with one thing wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.testing.require import CheckFailed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.checkpoints import Checkpoint, TensorsInMemory
else:
    torch = lazy_import("torch")


def with_nan(tensor: Tensor) -> Tensor:
    """Its first value is NaN."""
    broken = tensor.clone()
    broken.view(-1)[0] = torch.nan
    return broken


def with_another_row(tensor: Tensor) -> Tensor:
    """Its first axis is one longer."""
    return torch.cat([tensor, tensor[:1]])


def changed(
    opened: Path,
    folder: Path,
    checkpoint: Checkpoint | TensorsInMemory,
    name: str,
    change: Callable[[Tensor], Tensor],
) -> Path:
    """A copy of `opened` in `folder`, where `change` was made to the tensor `name`."""
    from spectrakit.checkpoints import Checkpoint

    copy, file = _copied(opened, folder, checkpoint.tensors[name].file)
    name = checkpoint.stored_name(name) if isinstance(checkpoint, Checkpoint) else name
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file, save_file

        tensors = load_file(file)
        tensors[name] = change(tensors[name])
        save_file(tensors, file, metadata={"format": "pt"})
    else:
        state = torch.load(file, map_location="cpu", weights_only=True)
        _replace(state, name, change)
        torch.save(state, file)
    return copy


def truncated(opened: Path, folder: Path, checkpoint: Checkpoint | TensorsInMemory) -> Path:
    """A copy of `opened` in `folder`, whose largest weight file ends too early."""
    largest = max(checkpoint.files, key=lambda file: file.size)
    copy, file = _copied(opened, folder, largest.path)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    return copy


def _copied(opened: Path, folder: Path, file: str) -> tuple[Path, Path]:
    """The copy of `opened`, and where the weight file `file` is in it."""
    if opened.is_dir():
        copy = Path(shutil.copytree(opened, folder / opened.name))
        return copy, copy / file
    copy = folder / opened.name
    shutil.copytree(opened.parent, folder, dirs_exist_ok=True)
    return copy, copy


def _replace(state: Any, name: str, change: Callable[[Tensor], Tensor]) -> None:  # noqa: ANN401
    """Change the tensor `name`, wherever in nested dictionaries it is."""
    if isinstance(state, dict):
        if isinstance(state.get(name), torch.Tensor):
            state[name] = change(state[name])
            return
        for inner in state.values():
            if isinstance(inner, dict) and name in _names(inner):
                _replace(inner, name, change)
                return
    message = f"the file has no tensor {name}, so it cannot be damaged"
    raise CheckFailed(message)


def _names(state: dict[str, Any]) -> set[str]:
    nested = [_names(value) for value in state.values() if isinstance(value, dict)]
    return set(state).union(*nested)
