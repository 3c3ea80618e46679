"""Checkpoints of the published 130m shapes with random values, made once for all benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.support.shapes import (
    MAMBA2_130M,
    MAMBA_130M,
    mamba,
    mamba2,
    mamba2_config,
    mamba_config,
    write,
)


@dataclass(frozen=True)
class Checkpoints:
    """Folders: Mamba-130m in both formats, and Mamba-2-130m as the Hub has it."""

    safetensors: Path
    zipped: Path
    mamba2: Path


def make(folder: Path) -> Checkpoints:
    return Checkpoints(
        write(
            folder / "mamba-130m-hf",
            mamba_config(MAMBA_130M, original=False),
            mamba(MAMBA_130M, original=False),
            form="safetensors",
        ),
        write(
            folder / "mamba-130m",
            mamba_config(MAMBA_130M, original=True),
            mamba(MAMBA_130M, original=True),
            form="bin",
        ),
        write(
            folder / "mamba2-130m",
            mamba2_config(MAMBA2_130M, original=True),
            mamba2(MAMBA2_130M, original=True),
            form="bin",
        ),
    )


def weights(folder: Path) -> Path:
    """The one weight file of a folder."""
    (file,) = (path for path in folder.iterdir() if path.suffix in {".safetensors", ".bin"})
    return file
