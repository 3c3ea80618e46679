"""Formats of torch before 1.6."""

from __future__ import annotations

import io
import tarfile


def legacy_tar() -> bytes:
    """The parts that such an archive has, empty."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return buffer.getvalue()
