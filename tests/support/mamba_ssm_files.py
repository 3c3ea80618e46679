"""The bundled checkpoints in the layout of the mamba_ssm library, made when a test asks."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file


def write_mamba_ssm(tiny: Path, folder: Path, **changes) -> Path:
    """Write the checkpoint in `tiny` (transformers) to `folder` as state-spaces' own files.

    changes: keys of the config to add or replace.
    """
    config = json.loads((tiny / "config.json").read_text())
    weights = load_file(tiny / "model.safetensors")
    weights = {name.replace("embeddings", "embedding"): w for name, w in weights.items()}
    weights["lm_head.weight"] = weights["backbone.embedding.weight"]  # tied: one storage
    options = {}
    if config["model_type"] == "mamba2":
        options = {
            "layer": "Mamba2",
            "d_state": config["state_size"],
            "headdim": config["head_dim"],
            "chunk_size": config["chunk_size"],
        }
    original = {
        "d_model": config["hidden_size"],
        "n_layer": config["num_hidden_layers"],
        # The originals state the size before padding.
        "vocab_size": config["vocab_size"] - 3,
        "ssm_cfg": options,
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 8,
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(original))
    torch.save(weights, folder / "pytorch_model.bin")
    return folder
