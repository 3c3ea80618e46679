"""The text of a list file, read with a bound and refused where it is none."""

from __future__ import annotations

import codecs
from pathlib import Path

from spectrakit.checkpoints.shards import FORMATS
from spectrakit.errors import MalformedError, UsageError

#: A list of 100,000 models has a tenth of it.
MOST_BYTES = 16 << 20
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HINT = f"weights are known by their ending: {', '.join(FORMATS)}"
#: How files begin that are no lists.
_BEGINNINGS = {
    b"PK\x03\x04": "a zip archive or PyTorch weights",
    b"PAR1": "a Parquet file",
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip file",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF",
}


def read_text(path: Path) -> str:
    """The text of a list, without a byte order mark. Lines may end as any system ends them.

    Raises UsageError where it cannot be read, MalformedError where it is too large, binary or not
    UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the list {path}: {error.strerror}") from error
    if data.startswith(_UTF_16):
        raise MalformedError(f"{path} is UTF-16 text", hint="save it as UTF-8")
    found = _binary(data)
    if found is not None:
        raise MalformedError(f"{path} is not a list of models but {found}", hint=_HINT)
    if len(data) > MOST_BYTES:
        message = f"{path} is larger than {MOST_BYTES >> 20} MiB: not a list of models"
        raise MalformedError(message, hint="split it into several lists")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{path}, line {line}: not UTF-8 text (byte 0x{data[error.start]:02x})"
        raise MalformedError(message, hint="save it as UTF-8") from error


def _binary(data: bytes) -> str | None:
    """What the file is, where it is no text."""
    if data[8:10] == b'{"' and len(data) > 8 and int.from_bytes(data[:8], "little") < len(data):
        return "a safetensors file"
    for beginning, what in _BEGINNINGS.items():
        if data.startswith(beginning):
            return what
    return "a binary file" if b"\0" in data else None
