"""Tensors that are in memory already, as a source like any other: nothing is copied to be listed.

The revision `memory-<12 hex>` is of every tensor's name, shape and content, `memory-part-<12 hex>`
of every name and shape and of the content of those tensors that were asked for. Neither is kept:
weights in training change.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from spectrakit.checkpoints.described import Described
from spectrakit.checkpoints.entries import TensorEntry
from spectrakit.checkpoints.fingerprint import WHOLE_BYTES
from spectrakit.checkpoints.materialize import dtype_name
from spectrakit.checkpoints.parts import plain_name
from spectrakit.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spectrakit.checkpoints.entries import CheckpointFile

#: Keys of a config that say where this copy of a model came from.
_OF_THE_COPY = frozenset({"_name_or_path", "transformers_version"})

#: Bytes of a tensor that are hashed at once.
_HASHED = 8 << 20


@dataclass(frozen=True)
class HeldTensor:
    """A tensor that someone holds: shape and dtype as it is now, and how to get at it later.

    value: called whenever it is read, since the holder may put another one in its place.
    """

    entry: TensorEntry
    value: Callable[[], Tensor]

    @classmethod
    def of(cls, name: str, now: Tensor, value: Callable[[], Tensor]) -> HeldTensor:
        """Under this `name`; now: what `value` gives."""
        shape, strides = tuple(now.shape), tuple(now.stride())
        entry = TensorEntry(name, dtype_name(now.dtype), shape, strides, "memory", _address(now))
        return cls(entry, value)


class TensorsInMemory(Described):
    """The named tensors of a state dict or of a module, read where they are.

    It has what a `Checkpoint` has; see `TensorSource`.
    """

    source: str = "memory"
    origin: Literal["memory"] = "memory"
    files: tuple[CheckpointFile, ...] = ()
    bytes_read: int = 0
    requests: int = 0

    def __init__(
        self,
        *,
        model_id: str,
        config: Mapping[str, Any],
        held: Mapping[str, HeldTensor],
        module: nn.Module | None = None,
        tokenizer: object = None,
        borrowed: bool = True,
    ) -> None:
        """module: what holds them, where that can be run as it is. tokenizer: as `from_model` takes
        one. borrowed: False where `read` is to give copies.
        """
        super().__init__(model_id, config)
        self.tensors = {name: tensor.entry for name, tensor in held.items()}
        self.module = module
        self.borrowed = borrowed
        self.tokenizer = tokenizer if isinstance(tokenizer, str) else None
        self.held = held
        self._tokenizer = None if self.tokenizer else tokenizer

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors by other names, those they have by the new ones; leave all others out."""
        self.held = {
            name: replace(self.held[old], entry=replace(self.held[old].entry, name=name))
            for name, old in names.items()
        }
        self.tensors = {name: tensor.entry for name, tensor in self.held.items()}

    @property
    def revision(self) -> str:
        """`memory-<12 hex>` of every tensor's content, as it is now."""
        return self.revision_of(None)

    def revision_of(self, names: Iterable[str] | None) -> str:
        """The content as far as the tensors `names` tell, as it is now; None for all of them.

        Where they are at most 16 MiB in all, every one of them counts. Raises what `read` does.
        """
        size = sum(entry.span for entry in self.tensors.values())
        whole = names is None or size <= WHOLE_BYTES
        config = {key: value for key, value in self.config.items() if key not in _OF_THE_COPY}
        digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
        for entry in sorted(self.tensors.values(), key=lambda entry: entry.name):
            digest.update(repr((entry.name, entry.dtype, entry.shape)).encode())
        for name in sorted(self.tensors if whole else set(names or ())):
            digest.update(name.encode("utf-8", "surrogateescape"))
            for piece in _pieces(self.read([name])[name]):
                digest.update(piece)
        return f"memory-{'' if whole else 'part-'}{digest.hexdigest()[:12]}"

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The tensors `names`, on the CPU; those that are there share their holder's memory.

        Raises `UsageError` for a name that is not in `tensors`, `UnsupportedError` for a tensor
        without values of its own (on the meta device, or quantised).
        """
        return {name: self._read(name) for name in dict.fromkeys(names)}

    def _read(self, name: str) -> Tensor:
        if name not in self.held:
            raise UsageError(f"{self.model_id} has no tensor {name!r}")
        tensor = whole_tensor(name, self.held[name].value())
        return tensor if self.borrowed else tensor.clone()

    def cost(self, names: Iterable[str]) -> int:
        """Bytes of the tensors `names`."""
        return sum(self.tensors[name].span for name in dict.fromkeys(names))

    def file_path(self, filename: str) -> Path | None:
        """A file of the tokenizer, where one was given as an object; None for any other."""
        if self._tokenizer is None:
            return None
        try:
            path = self._tokenizer_files / plain_name(filename)
        except ValueError as error:
            raise UsageError(str(error)) from error
        return path if path.is_file() else None

    @cached_property
    def _tokenizer_files(self) -> Path:
        """A folder of them, which is deleted with this object at the latest."""
        folder = Path(tempfile.mkdtemp(prefix="spectrakit-"))
        self._deleted = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        tokenizer: Any = self._tokenizer
        if hasattr(tokenizer, "save_pretrained"):
            tokenizer.save_pretrained(folder)
        else:
            tokenizer.save(str(folder / "tokenizer.json"))
        return folder

    def localize(self) -> Self:
        """Itself."""
        return self

    def close(self) -> None:
        """Delete the tokenizer's files."""
        if "_tokenizer_files" in vars(self):
            del self._tokenizer_files
            self._deleted()

    def __repr__(self) -> str:
        return f"TensorsInMemory({self.model_id!r}, {len(self.tensors)} tensors)"


def is_array(value: object) -> bool:
    """Whether it is a tensor of torch, an array of NumPy, or what `numpy.asarray` takes as one."""
    return hasattr(value, "__array__") and hasattr(value, "shape") and hasattr(value, "dtype")


def as_tensor(name: str, array: Any) -> Tensor:  # noqa: ANN401
    """A tensor over the memory of an array, where NumPy can see that without a copy.

    Raises UnsupportedError for a dtype that torch does not have.
    """
    import numpy as np
    import torch

    if isinstance(array, torch.Tensor):
        return array
    found = np.asarray(array)
    half = found.dtype.name == "bfloat16"  # of the package ml_dtypes
    try:
        with warnings.catch_warnings():
            # That it may not be written into: nothing here writes into it.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            tensor = torch.from_numpy(found.view(np.uint16) if half else found)
    except TypeError as error:
        message = f"{name} is an array of {found.dtype}, which torch does not have"
        raise UnsupportedError(message, hint="convert it to float32") from error
    return tensor.view(torch.bfloat16) if half else tensor


def whole_tensor(name: str, tensor: Tensor) -> Tensor:
    """The values of a held tensor on the CPU, without its gradient's history.

    One that is sharded over processes (`DTensor`) is gathered, which all of them have to do.

    Raises UnsupportedError where it holds no values, or packed ones.
    """
    tensor = tensor.detach()
    if hasattr(tensor, "full_tensor"):
        tensor = tensor.full_tensor()
    elif is_packed(tensor):
        message = f"{name} is a {type(tensor).__name__}, whose values are packed or kept elsewhere"
        raise UnsupportedError(message, hint="read the model before quantisation")
    if tensor.is_meta:
        message = f"{name} is on the meta device: it has a shape and no values"
        raise UnsupportedError(message, hint="load the weights into the module first")
    found: Tensor = tensor.cpu()
    return found


def is_packed(tensor: Tensor) -> bool:
    """Whether it is a wrapper around other tensors that hold its values, as quantisers make them.

    One that is sharded over processes is none of these.
    """
    from torch.utils._python_dispatch import is_traceable_wrapper_subclass

    wraps: bool = is_traceable_wrapper_subclass(tensor)
    return wraps and not hasattr(tensor, "full_tensor")


def _address(tensor: Tensor) -> int:
    """Where its first element is, or, without memory of its own, the tensor itself."""
    try:
        return tensor.data_ptr() or id(tensor)
    except RuntimeError:  # a wrapper around others
        return id(tensor)


def _pieces(tensor: Tensor) -> Iterator[bytes]:
    """The content, row-major, a few rows at a time."""
    import torch

    flat = tensor.resolve_conj().contiguous().reshape(-1)
    for piece in flat.split(max(1, _HASHED // flat.element_size())):
        yield piece.view(torch.uint8).numpy().tobytes()
