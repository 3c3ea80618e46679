"""Checkpoints in the layout of the mamba_ssm library, made when a test asks."""

from __future__ import annotations

import json
import math
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


def write_bamba_as_mamba_ssm(tiny: Path, folder: Path, **changes) -> Path:
    """Write the Bamba checkpoint in `tiny` (transformers) to `folder` as a hybrid of mamba_ssm's.

    changes: keys of the config to add or replace.
    """
    config = json.loads((tiny / "config.json").read_text())
    bamba = load_file(tiny / "model.safetensors")
    heads, width = config["num_attention_heads"], config["hidden_size"]
    weights = {
        "backbone.embedding.weight": bamba["model.embed_tokens.weight"],
        "backbone.norm_f.weight": bamba["model.final_layernorm.weight"],
        "lm_head.weight": bamba["lm_head.weight"],
    }
    for number in range(config["num_hidden_layers"]):
        block = {
            name.removeprefix(f"model.layers.{number}."): w
            for name, w in bamba.items()
            if name.startswith(f"model.layers.{number}.")
        }
        attention = [block.get(f"self_attn.{part}_proj.weight") for part in "qkv"]
        up, gate = (block[f"feed_forward.{part}_proj.weight"] for part in ("up", "gate"))
        renamed = {
            "norm.weight": block["input_layernorm.weight"],
            "norm2.weight": block["pre_ff_layernorm.weight"],
            "mlp.fc1.weight": torch.cat([up, gate]),
            "mlp.fc2.weight": block["feed_forward.down_proj.weight"],
        }
        if attention[0] is None:
            renamed |= {f"mixer.{n[6:]}": w for n, w in block.items() if n.startswith("mamba.")}
        else:
            renamed["mixer.in_proj.weight"] = torch.cat(attention)
            renamed["mixer.out_proj.weight"] = block["self_attn.o_proj.weight"]
        weights |= {f"backbone.layers.{number}.{name}": w for name, w in renamed.items()}
    original = {
        "d_model": width,
        "d_intermediate": config["intermediate_size"],
        "n_layer": config["num_hidden_layers"],
        "vocab_size": config["vocab_size"],
        "ssm_cfg": {
            "layer": "Mamba2",
            "d_state": config["mamba_d_state"],
            "headdim": config["mamba_d_head"],
            "ngroups": config["mamba_n_groups"],
        },
        "attn_layer_idx": config["attn_layer_indices"],
        "attn_cfg": {
            "causal": True,
            "d_conv": 0,
            "head_dim": width // heads,
            "num_heads": heads,
            "num_heads_kv": config["num_key_value_heads"],
            "out_proj_bias": False,
            "qkv_proj_bias": False,
            "rotary_emb_dim": width // heads // 2,  # transformers' Bamba always turns one half
        },
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 1,
        "tie_embeddings": False,
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(original))
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def write_random_mamba_ssm(folder: Path, **config) -> Path:
    """Write a model of random weights with the options of `config`, as the library names them."""
    width, layers = config["d_model"], config["n_layer"]
    rows = math.ceil(config["vocab_size"] / 8) * 8
    shapes = {"embedding.weight": (rows, width), **_norm("norm_f", config)}
    for number in range(layers):
        attends = number in config.get("attn_layer_idx", [])
        block = {f"mixer.{n}": s for n, s in (_attention if attends else _mamba)(config).items()}
        block |= _norm("norm", config)
        if config.get("d_intermediate", 0):
            inner = math.ceil(config["d_intermediate"] / 128) * 128
            block |= {"mlp.fc1.weight": (2 * inner, width), "mlp.fc2.weight": (width, inner)}
            block |= _norm("norm2", config)
        shapes |= {f"layers.{number}.{name}": shape for name, shape in block.items()}
    torch.manual_seed(0)
    weights = {
        f"backbone.{name}": torch.randn(shape) / math.sqrt(shape[-1])
        for name, shape in shapes.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def _norm(name: str, config: dict) -> dict:
    parts = ("weight",) if config.get("rms_norm", True) else ("weight", "bias")
    return {f"{name}.{part}": (config["d_model"],) for part in parts}


def _mamba(config: dict) -> dict:
    options = config.get("ssm_cfg", {})
    width, channels = config["d_model"], 2 * config["d_model"]
    if options.get("layer") != "Mamba2":
        states, rank = options.get("d_state", 16), math.ceil(width / 16)
        return {
            "in_proj.weight": (2 * channels, width),
            "conv1d.weight": (channels, 1, 4),
            "conv1d.bias": (channels,),
            "x_proj.weight": (rank + 2 * states, channels),
            "dt_proj.weight": (channels, rank),
            "dt_proj.bias": (channels,),
            "A_log": (channels, states),
            "D": (channels,),
            "out_proj.weight": (width, channels),
        }
    heads = channels // options["headdim"]
    convolved = channels + 2 * options.get("ngroups", 1) * options["d_state"]
    norm = {"norm.weight": (channels,)} if options.get("rmsnorm", True) else {}
    return norm | {
        "in_proj.weight": (channels + convolved + heads, width),
        "conv1d.weight": (convolved, 1, 4),
        "conv1d.bias": (convolved,),
        "dt_bias": (heads,),
        "A_log": (heads,),
        "D": (heads,),
        "out_proj.weight": (width, channels),
    }


def _attention(config: dict) -> dict:
    options, width = config["attn_cfg"], config["d_model"]
    heads = options["num_heads"]
    head_width = options.get("head_dim", width // heads)
    projected = head_width * (heads + 2 * options.get("num_heads_kv", heads))
    shapes = {
        "in_proj.weight": (projected, width),
        "in_proj.bias": (projected,),
        "out_proj.weight": (width, heads * head_width),
        "out_proj.bias": (width,),
    }
    if options.get("d_conv", 0):
        shapes |= {
            "conv1d.weight": (projected, 1, options["d_conv"]),
            "conv1d.bias": (projected,),
        }
    return shapes
