"""Torch archives taken apart and put together again, well and badly."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import torch


def saved(value, **options) -> bytes:
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def records(archive: bytes) -> dict[str, bytes]:
    """The records of an archive, without the root folder's name."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name.partition("/")[2]: opened.read(name) for name in opened.namelist()}


def repacked(contents: dict[str, bytes], root: str = "archive/", **options) -> bytes:
    """The records packed by Python's zipfile: no padding, nothing aligned."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in contents.items():
            archive.writestr(root + name, content)
    return buffer.getvalue()


def old_layout(value, path: Path) -> Path:
    """As PyTorch 1.6 to 2.0 wrote: aligned, without byteorder, format version and alignment."""
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in records(saved(value)).items():
        if name == "data.pkl" or name.startswith("data/"):
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return path


def with_pickle(pickled: bytes) -> bytes:
    """An archive whose data.pkl is `pickled`, with one storage of 64 bytes."""
    return repacked({"data.pkl": pickled, "data/0": bytes(64), "version": b"3\n"})
