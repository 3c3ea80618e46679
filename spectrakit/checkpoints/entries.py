"""What a checkpoint says about itself before any tensor is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spectrakit.errors import MalformedError, UnsupportedError

#: Bytes of one element, by the dtype's safetensors name.
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1,
    "F8_E5M2FNUZ": 1, "F8_E4M3FNUZ": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
    "C128": 16,
}  # fmt: skip

#: Bounds of a tensor's layout, torch's own: beyond them products of sizes overflow.
MAX_DIMENSIONS = 64
MAX_COUNT = 2**62


@dataclass(frozen=True)
class CheckpointFile:
    """A weight file: its path inside the checkpoint, its format and its size in bytes."""

    path: str
    format: str  # "safetensors", "torch-zip", "dcp" or "gguf"
    size: int


#: Dtypes whose values are not read: formats that torch and the processors hardly have.
_UNREAD = frozenset({"F8_E5M2FNUZ", "F8_E4M3FNUZ"})


@dataclass(frozen=True)
class Withheld:
    """Why a tensor that a file names is not read from it, and what to do instead."""

    reason: str
    hint: str


@dataclass(frozen=True)
class Packed:
    """How a tensor is stored that is unpacked when it is read: the format's name, and its bytes."""

    format: str
    size: int


# Not frozen, which makes an object take five times as long: a file has a hundred thousand of them.
@dataclass(slots=True, unsafe_hash=True)
class TensorEntry:
    """Where a tensor lies and how its bytes are laid out. It is never changed.

    `offset` is absolute in `file`, the byte of the tensor's first element. `strides` count elements
    of `dtype` (a safetensors name: "F32", "BF16", ...); a safetensors tensor is row-major.
    `stored` are the bytes of a tensor whose dtype is not of whole bytes, or not known here: it is
    listed and not read. `withheld` says why one of any dtype is not. `packed` tells of one that is
    stored in another way than `dtype` says, which is that of the values that are read.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    file: str
    offset: int
    stored: int | None = None
    withheld: Withheld | None = None
    packed: Packed | None = None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def span(self) -> int:
        """Bytes from the first element to the end of the last one, gaps of the strides included."""
        if self.stored is not None:
            return self.stored
        if self.elements == 0:
            return 0
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        return (last + 1) * ITEM_BYTES[self.dtype]

    @property
    def file_bytes(self) -> int:
        """Bytes that it takes in its file."""
        return self.span if self.packed is None else self.packed.size

    @property
    def stored_as(self) -> str:
        """What is in the file: the dtype, or the format that it is packed in."""
        return self.dtype if self.packed is None else self.packed.format

    @property
    def readable(self) -> bool:
        """Whether its values can be had."""
        return self.stored is None and self.withheld is None and self.dtype not in _UNREAD

    def check_readable(self) -> None:
        """Raise MalformedError where it is withheld, UnsupportedError for a dtype not read here."""
        if self.withheld is not None:
            raise MalformedError(self.withheld.reason, hint=self.withheld.hint)
        if not self.readable:
            message = f"{self.file}: {self.name} is stored as {self.dtype}, which is not read here"
            raise UnsupportedError(message, hint="use the checkpoint before quantisation")
