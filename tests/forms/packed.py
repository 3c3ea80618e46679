"""What converters make: other layouts, and weights in few bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import save_file

from tests.forms.base import Form, Made, Maker, Original
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


_PACKED = (".in_proj.weight", ".out_proj.weight")


def _quantised(method: str, pack: Callable[[str, torch.Tensor], dict[str, torch.Tensor]]) -> Maker:
    """The projections as a quantiser of transformers lays them out, and its section in the config.

    pack: what stands in the place of a matrix, by the ends of names. No values are made of them.
    """

    def write(folder: Path, original: Original) -> Path:
        tensors: dict[str, torch.Tensor] = {}
        for name, tensor in original.tensors.items():
            if name.endswith(_PACKED):
                stem = name.removesuffix("weight")
                tensors |= {f"{stem}{end}": part for end, part in pack(name, tensor).items()}
            else:
                tensors[name] = tensor
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        section = {"quantization_config": {"quant_method": method}}
        (folder / "config.json").write_text(json.dumps(original.config | section))
        return folder

    return write


def _eight(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """bitsandbytes, LLM.int8: rows in 8 bits, and the largest value of each."""
    largest = tensor.abs().amax(1)
    return {"weight": (tensor / largest[:, None] * 127).to(torch.int8), "SCB": largest}


def _four(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """bitsandbytes, NF4: two values in a byte, and the largest of every 64."""
    return {
        "weight": torch.zeros(tensor.numel() // 2, 1, dtype=torch.uint8),
        "weight.absmax": torch.ones(tensor.numel() // 64),
        "weight.quant_map": torch.linspace(-1, 1, 16),
        "weight.quant_state.bitsandbytes__nf4": torch.zeros(80, dtype=torch.uint8),
    }


def _words(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """GPTQ and AWQ: 8 values in a word, zeros and scales of every group of 32 inputs."""
    outputs, inputs = tensor.shape
    words = {"dtype": torch.int32}
    return {
        "qweight": torch.zeros(inputs // 8, outputs, **words),
        "qzeros": torch.zeros(inputs // 32, outputs // 8, **words),
        "scales": torch.ones(inputs // 32, outputs, dtype=torch.float16),
        "g_idx": torch.arange(inputs, **words) // 32,
    }


def _compressed(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """compressed-tensors, pack-quantized."""
    outputs, inputs = tensor.shape
    return {
        "weight_packed": torch.zeros(outputs, inputs // 8, dtype=torch.int32),
        "weight_scale": torch.ones(outputs, inputs // 32),
        "weight_shape": torch.tensor([outputs, inputs]),
    }


def _torchao(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """torchao, int8 weights: a scale and a zero for every row."""
    return {
        "_weight_qdata": torch.zeros(tensor.shape, dtype=torch.int8),
        "_weight_scale": torch.ones(len(tensor), 1),
        "_weight_zero_point": torch.zeros(len(tensor), 1, dtype=torch.int8),
    }


def _form(name: str, method: str, says: str, package: str, pack: Any) -> Form:
    no_data = f"transformers runs it with {package}"
    module = package.partition(" ")[0].replace("-", "_")
    return Form(name, says, written=_quantised(method, pack), no_data=no_data, without=module)


_BYTES, _NF4 = "bitsandbytes, 8 bits", "bitsandbytes, 4 bits"
QUANTISED = (
    _form(_BYTES, "bitsandbytes", "I8", "bitsandbytes", _eight),
    _form(_NF4, "bitsandbytes", "U8", "bitsandbytes", _four),
    _form("GPTQ", "gptq", "I32", "gptqmodel and optimum", _words),
    _form("AWQ", "awq", "I32", "gptqmodel", _words),
    _form("compressed-tensors", "compressed-tensors", "I32", "compressed-tensors", _compressed),
    _form("torchao", "torchao", "I8", "torchao", _torchao),
)

FORMS = (
    Form("GGUF, F32", "read by transformers-mamba", written=_gguf, tolerance=1e-5),
    Form("GGUF, Q8_0", "Q8_0", written=_gguf_8, tolerance=1e-5),
    Form("MLX", "read by transformers-mamba", written=_mlx, tolerance=1e-5),
    Form("MLX, 4 bits", "read by transformers-mamba", written=_mlx_4, tolerance=1e-5),
    *QUANTISED,
)
