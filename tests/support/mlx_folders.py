"""Folders as mlx_lm.convert makes them, of models of transformers.

What mlx-lm does to each family was taken from its `sanitize` (mlx-lm 0.32), how MLX quantises from
`mx.quantize` (mlx 0.32); both are written here in numpy, the other way round from what
spectrakit does.
A test compares them with the libraries where these are installed.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

Tensors = dict[str, np.ndarray]

FAMILIES = (
    "mamba",
    "mamba2",
    "falcon_h1",
    "jamba",
    "granitemoehybrid",
    "nemotron_h",
    "qwen3_next",
    "kimi_linear",
    "lfm2",
    "llama",
    "mixtral",
)
#: Never quantised by mlx-lm: what is no linear map and no embedding.
_LINEAR = re.compile(r".*(_proj|lm_head|embed_tokens|embeddings|in_proj\w*|fc\d|w\d)\.weight")


def write_mlx(
    folder: Path, source: Path, bits: int | None = None, group: int = 32
) -> tuple[Path, Tensors]:
    """The model of transformers in `source` in MLX's layout; and its values, unpacked again.

    The values have the names of MLX. bits: of matrices whose rows the group divides.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    tensors = sanitized(config, load_file(source / "model.safetensors"))
    values = dict(tensors)
    if bits is not None:
        section = {"group_size": group, "bits": bits, "mode": "affine"}
        config |= {"quantization": section, "quantization_config": section}
        for name in [n for n, t in tensors.items() if _LINEAR.fullmatch(n) and t.ndim > 1]:
            if tensors[name].shape[-1] % group == 0:
                parts = quantized(tensors.pop(name), bits, group)
                values[name] = dequantized(*parts, bits, group)
                stem = name.removesuffix("weight")
                tensors |= dict(zip((name, f"{stem}scales", f"{stem}biases"), parts, strict=True))
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "mlx"},
    )
    for file in source.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder, values


def quantized(values: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, ...]:
    """Words of 32 bits, scales and biases, so that value = scale * integer + bias."""
    groups = values.astype(np.float32).reshape(*values.shape[:-1], -1, group)
    biases = groups.min(-1)
    scales = np.maximum((groups.max(-1) - biases) / (2**bits - 1), 1e-7).astype(np.float32)
    integers = np.rint((groups - biases[..., None]) / scales[..., None])
    integers = integers.clip(0, 2**bits - 1).astype(np.uint64).reshape(values.shape)
    return _words(integers, bits), scales, biases


def _words(integers: np.ndarray, bits: int) -> np.ndarray:
    """Each row as one long number in base 2^bits, its first integer the lowest digit."""
    rows = integers.reshape(-1, integers.shape[-1])
    words = np.zeros((len(rows), rows.shape[1] * bits // 32), np.uint32)
    for row, digits in enumerate(rows):
        number = sum(int(digit) << (bits * place) for place, digit in enumerate(digits))
        words[row] = np.frombuffer(number.to_bytes(4 * words.shape[1], "little"), "<u4")
    return words.reshape(*integers.shape[:-1], -1)


def dequantized(words, scales, biases, bits: int, group: int) -> np.ndarray:
    """What `quantized` stands for."""
    rows = words.reshape(-1, words.shape[-1])
    count = rows.shape[1] * 32 // bits
    numbers = (int.from_bytes(row.tobytes(), "little") for row in rows)
    mask = 2**bits - 1
    digits = np.array([[(n >> (bits * i)) & mask for i in range(count)] for n in numbers])
    groups = digits.reshape(*scales.shape, group).astype(np.float32)
    values = groups * scales[..., None] + biases[..., None]
    return values.reshape(*words.shape[:-1], -1)


def sanitized(config: dict, tensors: Tensors) -> Tensors:
    """As mlx-lm's class of the family lays its tensors out."""
    tied = config.get("tie_word_embeddings", config["model_type"] == "mamba")
    if tied:
        tensors.pop("lm_head.weight", None)
    found = {name: _channels_last(name, tensor) for name, tensor in tensors.items()}
    found = _stacked(found, config)
    own = {
        "falcon_h1": _falcon_h1,
        "granitemoehybrid": _granite,
        "qwen3_next": _qwen,
        "kimi_linear": _kimi,
    }
    change = own.get(config["model_type"])
    return found if change is None else change(found, config)


def _channels_last(name, tensor):
    kernel = re.fullmatch(r".*conv(1d)?\.weight", name) and tensor.ndim == 3
    return tensor.transpose(0, 2, 1) if kernel else tensor


def _stacked(tensors: Tensors, config) -> Tensors:
    experts: dict[str, list[np.ndarray]] = {}
    found = {}
    names = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    if config["model_type"] == "nemotron_h":
        names = {"up_proj": "fc1", "down_proj": "fc2"}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.*)\.experts\.\d+\.(\w+)\.weight", name)
        if match is None:
            found[name] = tensor
        else:
            new = names.get(match[2], match[2])
            experts.setdefault(f"{match[1]}.switch_mlp.{new}.weight", []).append(tensor)
    return found | {name: np.stack(each) for name, each in experts.items()}


def _falcon_h1(tensors: Tensors, config) -> Tensors:
    inner, shared = config["mamba_d_ssm"], config["mamba_n_groups"] * config["mamba_d_state"]
    sizes = [inner, inner, shared, shared, config["mamba_n_heads"]]
    rows = np.repeat(config["ssm_multipliers"], sizes)[:, None].astype(np.float32)
    factors = {
        "embed_tokens.weight": config["embedding_multiplier"],
        "lm_head.weight": config["lm_head_multiplier"],
        "q_proj.weight": config["attention_in_multiplier"],
        "k_proj.weight": config["attention_in_multiplier"],
        "o_proj.weight": config["attention_out_multiplier"],
        "out_proj.weight": config["ssm_out_multiplier"],
        "gate_proj.weight": config["mlp_multipliers"][0],
        "down_proj.weight": config["mlp_multipliers"][1],
        "in_proj.weight": rows * config["ssm_in_multiplier"],
    }
    found = {}
    for name, tensor in tensors.items():
        factor = next((f for end, f in factors.items() if name.endswith(f".{end}")), 1.0)
        found[name] = tensor * np.float32(factor)
    found["lm_head.weight"] = tensors["lm_head.weight"] * np.float32(factors["lm_head.weight"])
    return found


def _granite(tensors: Tensors, config) -> Tensors:
    found = {}
    for name, tensor in tensors.items():
        if name.endswith("block_sparse_moe.input_linear.weight"):
            gate, up = np.split(tensor, 2, axis=1)
            stem = name.removesuffix("input_linear.weight")
            found |= {
                f"{stem}switch_mlp.gate_proj.weight": gate,
                f"{stem}switch_mlp.up_proj.weight": up,
            }
        elif name.endswith("block_sparse_moe.output_linear.weight"):
            found[name.replace("output_linear", "switch_mlp.down_proj")] = tensor
        else:
            found[name] = tensor
    return found


def _qwen(tensors: Tensors, config) -> Tensors:
    ends = (
        ".input_layernorm.weight",
        ".post_attention_layernorm.weight",
        "model.norm.weight",
        ".q_norm.weight",
        ".k_norm.weight",
    )
    return {name: t + 1 if name.endswith(ends) else t for name, t in tensors.items()}


def _kimi(tensors: Tensors, config) -> Tensors:
    found = {}
    heads = config["num_attention_heads"]
    for name, tensor in tensors.items():
        if name.endswith("kv_b_proj.weight"):
            by_head = tensor.reshape(heads, -1, tensor.shape[1])
            keys, values = np.split(by_head, [config["qk_nope_head_dim"]], axis=1)
            found[name.replace("kv_b_proj", "embed_q")] = keys.swapaxes(1, 2)
            found[name.replace("kv_b_proj", "unembed_out")] = values
            continue
        name = name.replace("block_sparse_moe.gate.e_score", "mlp.e_score")
        name = name.replace("block_sparse_moe.", "mlp.")
        found[re.sub(r"([qkv])_conv1d\.weight", r"\1_conv.conv.weight", name)] = tensor
    return found
