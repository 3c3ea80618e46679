"""What a weight file is, by its first bytes: names promise nothing."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from spectrakit.checkpoints.zip_directory import LOCAL_HEADER

if TYPE_CHECKING:
    from spectrakit.checkpoints.byte_sources import ByteSource

SAFETENSORS = "safetensors"
TORCH_ZIP = "torch-zip"
GGUF = "gguf"

#: Enough for the first record's header and name, and for the mark of a tar archive.
_LOOK = 512
_ZIP = b"PK\3\4"
#: What torch.save wrote before 1.6, whose reader here says what to do about it.
_PICKLE, _TAR = b"\x80", b"ustar"
_GGUF = b"GGUF"
_LENGTH = struct.Struct("<Q")


def kind_of(source: ByteSource) -> str | None:
    """The format of the file behind `source`, from one small read; None where it has none.

    An archive is a torch archive until its directory says otherwise, and so is what torch.save
    wrote long ago: the reader of archives tells what is wrong with a file.
    """
    start = source.read(0, min(_LOOK, source.size))
    if len(start) > 8 and start[8:9] == b"{" and _LENGTH.unpack_from(start)[0] < source.size:
        return SAFETENSORS
    if start.startswith(_GGUF):
        return GGUF
    if start.startswith(_ZIP):
        return None if _first_record(start).endswith(b".npy") else TORCH_ZIP
    return TORCH_ZIP if start.startswith(_PICKLE) or start[257:262] == _TAR else None


def is_torch_zip(source: ByteSource) -> bool:
    """Whether the file begins as torch.save begins an archive: with its pickle."""
    start = source.read(0, min(_LOOK, source.size))
    return start.startswith(_ZIP) and _first_record(start).endswith(b"/data.pkl")


def _first_record(start: bytes) -> bytes:
    """The name of the archive's first record, as far as it is in `start`."""
    if len(start) < LOCAL_HEADER.size:
        return b""
    length = LOCAL_HEADER.unpack_from(start)[-2]
    return start[LOCAL_HEADER.size : LOCAL_HEADER.size + length]
