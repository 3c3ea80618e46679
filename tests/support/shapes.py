"""Checkpoints with the names and shapes of the published ones, and random values.

Tests use the small shapes; benchmarks the full ones (516 MB for Mamba-130m in float32). The values
are those of a fresh initialisation, plus noise, and the same every time.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    vocabulary: int  # as padded in the weights
    state: int
    head: int = 64  # Mamba-2: channels of a head

    @property
    def inner(self) -> int:
        return 2 * self.width

    @property
    def rank(self) -> int:
        return math.ceil(self.width / 16)

    @property
    def heads(self) -> int:
        return self.inner // self.head


MAMBA_130M = Shape(layers=24, width=768, vocabulary=50280, state=16)
MAMBA2_130M = Shape(layers=24, width=768, vocabulary=50288, state=128)
SMALL_MAMBA = Shape(layers=4, width=64, vocabulary=256, state=16)
SMALL_MAMBA2 = Shape(layers=4, width=64, vocabulary=256, state=32, head=16)


def mamba(shape: Shape, *, original: bool, seed: int = 0) -> Tensors:
    """Mamba weights: `original` has mamba_ssm's names and a tied head, else transformers' names."""
    draw = _Draw(seed)
    inner, state = shape.inner, shape.state

    def mixer() -> Tensors:
        spread = torch.arange(1, state + 1, dtype=torch.float32).log().expand(inner, state)
        return {
            "A_log": spread + 0.1 * draw(inner, state),
            "D": 1 + 0.1 * draw(inner),
            "in_proj.weight": 0.02 * draw(2 * inner, shape.width),
            "conv1d.weight": 0.3 * draw(inner, 1, 4),
            "conv1d.bias": 0.1 * draw(inner),
            "x_proj.weight": 0.02 * draw(shape.rank + 2 * state, inner),
            "dt_proj.weight": 0.1 * draw(inner, shape.rank),
            "dt_proj.bias": draw.step_bias(inner),
            "out_proj.weight": 0.02 * draw(shape.width, inner),
        }

    return _stack(shape, mixer, draw, original=original)


def mamba2(shape: Shape, *, original: bool, seed: int = 0) -> Tensors:
    """Mamba-2 weights, one group; names as in `mamba`."""
    draw = _Draw(seed)
    inner, heads = shape.inner, shape.heads
    convolved = inner + 2 * shape.state

    def mixer() -> Tensors:
        return {
            "dt_bias": draw.step_bias(heads),
            "A_log": (1 + 15 * draw.uniform(heads)).log(),
            "D": 1 + 0.1 * draw(heads),
            "in_proj.weight": 0.02 * draw(inner + convolved + heads, shape.width),
            "conv1d.weight": 0.3 * draw(convolved, 1, 4),
            "conv1d.bias": 0.1 * draw(convolved),
            "norm.weight": 1 + 0.1 * draw(inner),
            "out_proj.weight": 0.02 * draw(shape.width, inner),
        }

    return _stack(shape, mixer, draw, original=original)


def mamba_config(shape: Shape, *, original: bool) -> dict:
    if original:
        return _original_config(shape, {}, pad=8)
    return {
        "model_type": "mamba",
        "architectures": ["MambaForCausalLM"],
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "state_size": shape.state,
        "num_hidden_layers": shape.layers,
        "vocab_size": shape.vocabulary,
        "time_step_rank": shape.rank,
        "conv_kernel": 4,
        "expand": 2,
        "use_bias": False,
        "use_conv_bias": True,
        "hidden_act": "silu",
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
    }


def mamba2_config(shape: Shape, *, original: bool) -> dict:
    if original:
        layer = {"layer": "Mamba2"}
        if (shape.state, shape.head) != (128, 64):  # mamba_ssm's defaults
            layer |= {"d_state": shape.state, "headdim": shape.head}
        more = {"d_intermediate": 0, "attn_layer_idx": [], "attn_cfg": {}, "tie_embeddings": True}
        return _original_config(shape, layer, pad=16) | more
    return {
        "model_type": "mamba2",
        "architectures": ["Mamba2ForCausalLM"],
        "hidden_size": shape.width,
        "state_size": shape.state,
        "num_hidden_layers": shape.layers,
        "num_heads": shape.heads,
        "head_dim": shape.head,
        "n_groups": 1,
        "vocab_size": shape.vocabulary,
        "conv_kernel": 4,
        "expand": 2,
        "use_bias": False,
        "use_conv_bias": True,
        "hidden_act": "silu",
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
    }


def step_tensors(names) -> list[str]:
    """Of `names`, what the nominal spectrum needs: A_log and the step's bias."""
    return [n for n in names if n.endswith(("A_log", "dt_proj.bias", "dt_bias"))]


def write(folder: Path, config: dict, tensors: Tensors, *, form: str, shards: int = 1) -> Path:
    """Save a checkpoint folder; `form` is "safetensors" or "bin"."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    stem, extension = (
        ("model", "safetensors") if form == "safetensors" else ("pytorch_model", "bin")
    )
    if shards == 1:
        _save(folder / f"{stem}.{extension}", tensors)
        return folder
    names = list(tensors)
    placed = {}
    for i in range(shards):
        file = f"{stem}-{i + 1:05}-of-{shards:05}.{extension}"
        part = names[i::shards]
        _save(folder / file, {name: tensors[name] for name in part})
        placed |= dict.fromkeys(part, file)
    total = sum(t.nbytes for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": placed}
    (folder / f"{stem}.{extension}.index.json").write_text(json.dumps(index))
    return folder


def _stack(shape: Shape, mixer, draw: _Draw, *, original: bool) -> Tensors:
    embedding = "embedding" if original else "embeddings"
    tensors = {f"backbone.{embedding}.weight": 0.02 * draw(shape.vocabulary, shape.width)}
    for i in range(shape.layers):
        layer = f"backbone.layers.{i}"
        tensors |= {f"{layer}.mixer.{name}": value for name, value in mixer().items()}
        tensors[f"{layer}.norm.weight"] = 1 + 0.1 * draw(shape.width)
    tensors["backbone.norm_f.weight"] = 1 + 0.1 * draw(shape.width)
    if original:
        tensors["lm_head.weight"] = tensors["backbone.embedding.weight"]
    return tensors


def _original_config(shape: Shape, layer: dict, *, pad: int) -> dict:
    return {
        "d_model": shape.width,
        "n_layer": shape.layers,
        "vocab_size": shape.vocabulary - 3 if pad == 8 else shape.vocabulary - 11,
        "ssm_cfg": layer,
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": pad,
    }


def _save(path: Path, tensors: Tensors) -> None:
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save(tensors, path)


class _Draw:
    """Random tensors, the same for a seed."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator)

    def uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self._generator)

    def step_bias(self, count: int) -> torch.Tensor:
        """The bias whose softplus is log-uniform between 0.001 and 0.1, Mamba's initial steps."""
        step = torch.exp(self.uniform(count) * math.log(100) + math.log(0.001))
        return step + torch.log(-torch.expm1(-step))
