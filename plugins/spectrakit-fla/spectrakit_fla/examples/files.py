"""Tiny checkpoints in the layout that fla saves: tensors by the names in its files, all random."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import save_file
from torch import Tensor

#: Shapes by name.
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

VOCABULARY = 256  # bytes
MLP_WIDTH = 10


def tokens(length: int = 24) -> Tensor:
    """Token ids (2, length)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(VOCABULARY, (2, length), generator=generator)


def around(width: int, layers: int, mlp_width: int = MLP_WIDTH) -> Shapes:
    """What a model of this width has outside its mixers."""
    blocks = {
        "attn_norm.weight": (width,),
        "mlp_norm.weight": (width,),
        "mlp.gate_proj.weight": (mlp_width, width),
        "mlp.up_proj.weight": (mlp_width, width),
        "mlp.down_proj.weight": (width, mlp_width),
    }
    return {
        "model.embeddings.weight": (VOCABULARY, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (VOCABULARY, width),
    } | {f"model.layers.{n}.{name}": s for n in range(layers) for name, s in blocks.items()}


def write_model(
    folder: Path,
    model_type: str,
    config: Mapping[str, Any],
    mixers: Sequence[Shapes],
    model: Shapes | None = None,
) -> Path:
    """A model in `folder`, with one of `mixers` in every layer.

    config: what it says of the mixers, and `hidden_size`. mixers: shapes by their names below
    `attn.`. model: shapes of further tensors, by their whole names.
    """
    shapes = dict(around(config["hidden_size"], len(mixers))) | dict(model or {})
    for number, mixer in enumerate(mixers):
        shapes |= {f"model.layers.{number}.attn.{name}": shape for name, shape in mixer.items()}
    sizes = {
        "model_type": model_type,
        "num_hidden_layers": len(mixers),
        "vocab_size": VOCABULARY,
        "intermediate_size": MLP_WIDTH,
    }
    return write_files(folder, sizes | dict(config), shapes)


def write_files(folder: Path, config: Mapping[str, Any], shapes: Shapes) -> Path:
    """A config and random tensors of these shapes, in `folder`."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    tensors = {
        # A matrix keeps the size of its input.
        name: torch.randn(shape, generator=generator)
        / (math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 1)
        for name, shape in shapes.items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
