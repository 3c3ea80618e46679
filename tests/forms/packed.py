"""What converters make: other layouts, and weights in few bits."""

from __future__ import annotations

from pathlib import Path

import gguf
import torch
from gguf import GGMLQuantizationType

from tests.forms.base import Form, Made, Original
from tests.support.gguf_files import write_gguf
from tests.support.mlx_folders import write_mlx


def _gguf(folder: Path, original: Original) -> Path:
    return write_gguf(original.folder, folder / "model-F32.gguf")


def _gguf_8(folder: Path, original: Original) -> Made:
    """Its outputs are those of the values that its integers stand for."""
    kind = GGMLQuantizationType.Q8_0
    path = write_gguf(original.folder, folder / "model-Q8_0.gguf", kind)
    after = original.module().state_dict()
    for name, tensor in original.tensors.items():
        if tensor.ndim == 2 and name.endswith(".weight") and tensor.shape[1] % 32 == 0:
            packed = gguf.quants.quantize(tensor.numpy(), kind)
            after[name] = torch.from_numpy(gguf.quants.dequantize(packed, kind))
    return Made(path, original.save_with(folder / "like", after))


def _mlx(folder: Path, original: Original) -> Made:
    return Made(write_mlx(folder / "mlx", original.folder)[0])


def _mlx_4(folder: Path, original: Original) -> Made:
    path, values = write_mlx(folder / "mlx", original.folder, bits=4)
    after = original.module().state_dict()
    for name, value in values.items():
        if value.shape == after[name].shape:  # not of convolutions, which lie otherwise
            after[name] = torch.from_numpy(value)
    return Made(path, original.save_with(folder / "like", after))


FORMS = (
    Form("GGUF, F32", "read by transformers-mamba", written=_gguf, tolerance=1e-5),
    Form("GGUF, Q8_0", "Q8_0", written=_gguf_8, tolerance=1e-5),
    Form("MLX", "read by transformers-mamba", written=_mlx, tolerance=1e-5),
    Form("MLX, 4 bits", "read by transformers-mamba", written=_mlx_4, tolerance=1e-5),
)
