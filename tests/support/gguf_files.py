"""GGUF files of tiny models, made as llama.cpp's convert_hf_to_gguf.py makes them.

Names come from the package gguf; what the converter does to values and which keys it writes was
taken from its source (the folder `conversion` of ggml-org/llama.cpp, in 2026) and is written here
in numpy, the other way round from what spectrakit does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter
from safetensors.numpy import load_file

Tensors = dict[str, np.ndarray]

ARCHITECTURES = {
    "mamba": MODEL_ARCH.MAMBA,
    "falcon_mamba": MODEL_ARCH.MAMBA,
    "mamba2": MODEL_ARCH.MAMBA2,
    "jamba": MODEL_ARCH.JAMBA,
    "falcon_h1": MODEL_ARCH.FALCON_H1,
    "bamba": MODEL_ARCH.GRANITE_HYBRID,
    "granitemoehybrid": MODEL_ARCH.GRANITE_HYBRID,
    "nemotron_h": MODEL_ARCH.NEMOTRON_H_MOE,
    "lfm2": MODEL_ARCH.LFM2,
    "qwen3_next": MODEL_ARCH.QWEN3NEXT,
    "qwen3_5_text": MODEL_ARCH.QWEN35,
    "qwen3_5_moe_text": MODEL_ARCH.QWEN35MOE,
    "kimi_linear": MODEL_ARCH.KIMI_LINEAR,
    "llama": MODEL_ARCH.LLAMA,
    "mistral": MODEL_ARCH.LLAMA,
    "granite": MODEL_ARCH.GRANITE,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
    "qwen2_moe": MODEL_ARCH.QWEN2MOE,
    "qwen3_moe": MODEL_ARCH.QWEN3MOE,
    "mixtral": MODEL_ARCH.LLAMA,
    "olmo2": MODEL_ARCH.OLMO2,
    "smollm3": MODEL_ARCH.SMOLLM3,
    "gemma": MODEL_ARCH.GEMMA,
    "gemma2": MODEL_ARCH.GEMMA2,
    "gemma3_text": MODEL_ARCH.GEMMA3,
    "phi3": MODEL_ARCH.PHI3,
    "gpt2": MODEL_ARCH.GPT2,
}


#: Kept in float32 whatever the type of the file; so is what does not end with .weight, A and D.
_ALWAYS_FLOAT = (
    "_norm.weight",
    "ssm_conv1d.weight",
    "shortconv.conv.weight",
    "ffn_gate_inp.weight",
)


def write_gguf(
    folder: Path, path: Path, kind: GGMLQuantizationType = GGMLQuantizationType.F32
) -> Path:
    """The model of transformers in `folder` as the GGUF file `path`.

    kind: of matrices whose rows it divides; the rest stays in float32, A too, as in llama.cpp.
    """
    config = json.loads((folder / "config.json").read_text())
    architecture = ARCHITECTURES[config["model_type"]]
    blocks = config.get("num_hidden_layers") or config.get("n_layer") or _layers(config)
    names = gguf.get_tensor_name_map(architecture, blocks)
    tensors = load_file(folder / "model.safetensors")
    if config.get("tie_word_embeddings", config["model_type"] in {"mamba", "gpt2"}):
        tensors.pop("lm_head.weight", None)
    writer = GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    _write_keys(writer, config, tensors, blocks)
    for name, tensor in _converted(config, tensors):
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new is not None, name
        _add(writer, new, tensor, kind)
    finish(writer)
    return path


def finish(writer: GGUFWriter) -> None:
    """Write what was added, and close the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _layers(config: dict[str, Any]) -> int:
    return len(config["layers_block_type"])


def _add(writer: GGUFWriter, name: str, tensor: np.ndarray, kind: GGMLQuantizationType) -> None:
    tensor = np.ascontiguousarray(tensor, np.float32)
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    small = tensor.ndim < 2 or not name.endswith(".weight") or name.endswith(_ALWAYS_FLOAT)
    if kind == GGMLQuantizationType.F32 or small or tensor.shape[-1] % block:
        writer.add_tensor(name, tensor)
    else:
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)


def _write_keys(writer: GGUFWriter, config: dict[str, Any], tensors: Tensors, blocks: int) -> None:
    add = writer.add_key_value
    u32, f32 = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.FLOAT32
    arch = writer.arch
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token {i}" for i in range(config["vocab_size"])])
    writer.add_token_merges(["a b", "b c"])
    for name, value in _keys(config, tensors, blocks).items():
        if isinstance(value, bool):
            add(f"{arch}.{name}", value, gguf.GGUFValueType.BOOL)
        elif isinstance(value, list):
            writer.add_array(f"{arch}.{name}", value)
        elif isinstance(value, int):
            add(f"{arch}.{name}", value, u32)
        elif isinstance(value, str):
            writer.add_string(f"{arch}.{name}", value)
        elif value is not None:
            add(f"{arch}.{name}", value, f32)


def _keys(config: dict[str, Any], tensors: Tensors, blocks: int) -> dict[str, Any]:
    kind = config["model_type"]
    rope = config.get("rope_parameters") or {}
    theta = rope.get("full_attention", rope).get("rope_theta") or config.get("rope_theta")
    heads = config.get("num_attention_heads") or config.get("n_head") or 0
    epsilon = (
        config.get("rms_norm_eps") or config.get("layer_norm_epsilon") or config.get("norm_eps")
    )
    keys = {
        "context_length": config.get("max_position_embeddings")
        or config.get("n_positions")
        or 2**20,
        "embedding_length": config.get("hidden_size") or config["n_embd"],
        "block_count": blocks,
        "feed_forward_length": config.get("intermediate_size")
        or config.get("n_inner")
        or 4 * config.get("n_embd", 0),
        "attention.head_count": heads,
        "attention.head_count_kv": config.get("num_key_value_heads"),
        "attention.key_length": config.get("head_dim") if heads else None,
        "rope.freq_base": theta,
    }
    norm = "layer_norm_epsilon" if kind == "gpt2" else "layer_norm_rms_epsilon"
    keys[f"attention.{norm}"] = epsilon
    more = _MORE_KEYS.get(kind)
    return keys | (more(config, tensors, blocks) if more else {})


def _ssm(conv: int, inner: int, state: int, rank: int, groups: int | None = None) -> dict[str, Any]:
    return {
        "ssm.conv_kernel": conv,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
        "ssm.group_count": groups,
    }


def _mamba_keys(config, tensors, blocks):
    rank = tensors["backbone.layers.0.mixer.dt_proj.weight"].shape[1]
    inner = config["expand"] * config["hidden_size"]
    falcon = config["model_type"] == "falcon_mamba"
    sizes = _ssm(config["conv_kernel"], inner, config["state_size"], rank)
    return sizes | {"ssm.dt_b_c_rms": falcon}


def _mamba2_keys(config, tensors, blocks):
    inner = config["num_heads"] * config["head_dim"]
    return _ssm(
        config["conv_kernel"], inner, config["state_size"], config["num_heads"], config["n_groups"]
    )


def _jamba_keys(config, tensors, blocks):
    attention = [f"model.layers.{i}.self_attn.q_proj.weight" in tensors for i in range(blocks)]
    inner = config["mamba_expand"] * config["hidden_size"]
    rank = tensors["model.layers.0.mamba.dt_proj.weight"].shape[1]
    return _ssm(config["mamba_d_conv"], inner, config["mamba_d_state"], rank) | {
        "attention.head_count_kv": [config["num_key_value_heads"] * there for there in attention],
        "expert_count": config["num_experts"],
        "expert_used_count": config["num_experts_per_tok"],
        "attention.key_length": None,
    }


def _prefixed_mamba2(config, inner):
    return _ssm(
        config["mamba_d_conv"],
        inner,
        config["mamba_d_state"],
        config["mamba_n_heads"],
        config["mamba_n_groups"],
    )


def _falcon_h1_keys(config, tensors, blocks):
    inner = tensors["model.layers.0.mamba.out_proj.weight"].shape[1]
    width = tensors["model.layers.0.self_attn.q_proj.weight"].shape[0]
    return _prefixed_mamba2(config, inner) | {
        "attention.key_length": width // config["num_attention_heads"]
    }


def _granite_hybrid_keys(config, tensors, blocks):
    attention = [f"model.layers.{i}.self_attn.q_proj.weight" in tensors for i in range(blocks)]
    inner = config["mamba_expand"] * config["hidden_size"]
    bamba = config["model_type"] == "bamba"
    keys = _prefixed_mamba2(config, inner) | {
        "attention.head_count_kv": [config["num_key_value_heads"] * there for there in attention],
        "rope.scaling.finetuned": bamba,
        "attention.key_length": None,
    }
    if bamba:
        rope = config["rope_parameters"]
        width = config["hidden_size"] // config["num_attention_heads"]
        return keys | {"rope.dimension_count": int(width * rope.get("partial_rotary_factor", 1))}
    return keys | {
        "expert_count": config["num_local_experts"],
        "expert_used_count": config["num_experts_per_tok"],
        "expert_shared_feed_forward_length": config["shared_intermediate_size"],
        **_granite_keys(config, tensors, blocks),
    }


def _granite_keys(config, tensors, blocks):
    return {
        "attention.scale": float(config["attention_multiplier"]),
        "embedding_scale": float(config["embedding_multiplier"]),
        "residual_scale": float(config["residual_multiplier"]),
        "logit_scale": float(config["logits_scaling"]),
    }


def _nemotron_keys(config, tensors, blocks):
    kinds = config["layers_block_type"]
    inner = config["mamba_num_heads"] * config["mamba_head_dim"]
    width = {"mlp": config["intermediate_size"], "moe": config["moe_intermediate_size"]}
    return _ssm(
        config["conv_kernel"],
        inner,
        config["ssm_state_size"],
        config["mamba_num_heads"],
        config["n_groups"],
    ) | {
        "attention.head_count_kv": [
            config["num_key_value_heads"] * ("attention" in kind and "linear" not in kind)
            for kind in kinds
        ],
        "feed_forward_length": [width.get(kind, 0) for kind in kinds],
        "expert_count": config["n_routed_experts"],
        "expert_used_count": config["num_experts_per_tok"],
        "expert_shared_count": config["n_shared_experts"],
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "expert_shared_feed_forward_length": config["moe_shared_expert_intermediate_size"],
        "expert_weights_norm": config["norm_topk_prob"],
        "expert_weights_scale": float(config["routed_scaling_factor"]),
        "expert_group_count": config["n_group"],
    }


def _lfm2_keys(config, tensors, blocks):
    attention = [kind == "full_attention" for kind in config["layer_types"]]
    return {
        "attention.head_count_kv": [config["num_key_value_heads"] * there for there in attention],
        "shortconv.l_cache": config["conv_L_cache"],
        "feed_forward_length": tensors["model.layers.0.feed_forward.w1.weight"].shape[0],
    }


def _qwen_keys(config, tensors, blocks):
    values = config["linear_num_value_heads"]
    factor = config["rope_parameters"].get("partial_rotary_factor", 0.25)
    return _ssm(
        config["linear_conv_kernel_dim"],
        config["linear_value_head_dim"] * values,
        config["linear_key_head_dim"],
        values,
        config["linear_num_key_heads"],
    ) | {
        "full_attention_interval": 2,
        "rope.dimension_count": int(config["head_dim"] * factor),
        "expert_count": config.get("num_experts"),
        "expert_used_count": config.get("num_experts_per_tok"),
        "expert_feed_forward_length": config.get("moe_intermediate_size"),
        "expert_shared_feed_forward_length": config.get("shared_expert_intermediate_size"),
    }


def _kimi_keys(config, tensors, blocks):
    return {
        "attention.head_count_kv": [
            int(kind == "full_attention") for kind in config["layer_types"]
        ],
        "ssm.conv_kernel": config["linear_conv_kernel_dim"],
        "kda.head_dim": config["linear_head_dim"],
        "attention.kv_lora_rank": config["kv_lora_rank"],
        "rope.dimension_count": config["qk_rope_head_dim"],
        "attention.key_length": config["kv_lora_rank"] + config["qk_rope_head_dim"],
        "attention.key_length_mla": config["qk_nope_head_dim"] + config["qk_rope_head_dim"],
        "attention.value_length_mla": config["v_head_dim"],
        "expert_count": config["num_experts"],
        "expert_used_count": config["num_experts_per_token"],
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "expert_shared_count": config["num_shared_experts"],
        "leading_dense_block_count": config["mlp_layer_types"].count("dense"),
        "expert_weights_scale": float(config["routed_scaling_factor"]),
    }


def _gemma_keys(config, tensors, blocks):
    return {
        "attention.sliding_window": config["sliding_window"],
        "attn_logit_softcapping": config["attn_logit_softcapping"],
        "final_logit_softcapping": config["final_logit_softcapping"],
    }


def _window_keys(config, tensors, blocks):
    return {"attention.sliding_window": config.get("sliding_window")}


def _expert_keys(config, tensors, blocks):
    return {
        "expert_count": config.get("num_experts") or config["num_local_experts"],
        "expert_used_count": config["num_experts_per_tok"],
        "expert_feed_forward_length": config.get("moe_intermediate_size"),
        "expert_shared_feed_forward_length": config.get("shared_expert_intermediate_size"),
    }


_MORE_KEYS = {
    "mamba": _mamba_keys,
    "falcon_mamba": _mamba_keys,
    "mamba2": _mamba2_keys,
    "jamba": _jamba_keys,
    "falcon_h1": _falcon_h1_keys,
    "bamba": _granite_hybrid_keys,
    "granitemoehybrid": _granite_hybrid_keys,
    "granite": _granite_keys,
    "nemotron_h": _nemotron_keys,
    "lfm2": _lfm2_keys,
    "qwen3_next": _qwen_keys,
    "qwen3_5_text": _qwen_keys,
    "qwen3_5_moe_text": _qwen_keys,
    "kimi_linear": _kimi_keys,
    "gemma2": _gemma_keys,
    "gemma3_text": _gemma_keys,
    "phi3": _window_keys,
    "qwen2_moe": _expert_keys,
    "qwen3_moe": _expert_keys,
    "mixtral": _expert_keys,
}

# --- values -------------------------------------------------------------------------------------


def _converted(config: dict[str, Any], tensors: Tensors) -> Iterator[tuple[str, np.ndarray]]:
    """Names of transformers that the package gguf maps, and values as the converter writes them."""
    kind = config["model_type"]
    own = _VALUES.get(kind, lambda config, name, tensor: [(name, tensor)])
    for name, tensor in _stacked_experts(tensors).items():
        yield from own(config, name, tensor.astype(np.float32))


def _stacked_experts(tensors: Tensors) -> Tensors:
    """Every expert's matrices as one tensor, under the name that the converter gives it."""
    found: Tensors = {}
    experts: dict[str, list[np.ndarray]] = {}
    names = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    for name, tensor in tensors.items():
        match = re.fullmatch(r".*layers\.(\d+)\..*experts\.(\d+)\.(\w+)\.weight", name)
        if match is None:
            found[name] = tensor
        else:
            merged = f"model.layers.{match[1]}.mlp.experts.{names.get(match[3], match[3])}.weight"
            experts.setdefault(merged, []).append(tensor)
    return found | {name: np.stack(each) for name, each in experts.items()}


def _negative_exponential(tensor):
    return -np.exp(tensor)


def _mamba(config, name, tensor):
    if name.endswith(".A_log"):
        tensor = _negative_exponential(tensor)
    if name.endswith("conv1d.weight"):
        tensor = tensor.squeeze()
    return [(name, tensor)]


def _mamba2(config, name, tensor):
    groups = config.get("n_groups") or config.get("mamba_n_groups")
    if name.endswith(".dt_bias"):
        return [(name.replace(".dt_bias", ".dt_proj.bias"), tensor)]
    if name.endswith(("mixer.norm.weight", "mamba.norm.weight")):
        return [(name, tensor.reshape(groups, -1))]
    if name.endswith((".A_log", ".D")):
        tensor = tensor.reshape(-1, 1)
    return _mamba(config, name, tensor)


def _paired(tensor, heads):
    """Rows i and i + half of each head, side by side."""
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _llama(config, name, tensor):
    if name.endswith(("q_proj.weight", "q_proj.bias")):
        tensor = _paired(tensor, config["num_attention_heads"])
    if name.endswith(("k_proj.weight", "k_proj.bias")):
        tensor = _paired(tensor, config["num_key_value_heads"])
    return [(name, tensor)]


def _falcon_h1(config, name, tensor):
    (new, tensor), *_ = _mamba2(config, name, tensor)
    if "down_proj" in name:
        tensor = tensor * config["mlp_multipliers"][1]
    elif "gate_proj" in name:
        tensor = tensor * config["mlp_multipliers"][0]
    elif "k_proj" in name:
        tensor = tensor * config["key_multiplier"] * config["attention_in_multiplier"]
    elif "q_proj" in name or "v_proj" in name:
        tensor = tensor * config["attention_in_multiplier"]
    elif "o_proj" in name:
        tensor = tensor * config["attention_out_multiplier"]
    elif "out_proj" in name:
        tensor = tensor * config["ssm_out_multiplier"]
    elif "in_proj" in name:
        inner, shared = config["mamba_d_ssm"], config["mamba_n_groups"] * config["mamba_d_state"]
        inner = inner or config["mamba_expand"] * config["hidden_size"]
        sizes = [inner, inner, shared, shared, config["mamba_n_heads"]]
        scale = np.repeat(config["ssm_multipliers"], sizes) * config["ssm_in_multiplier"]
        tensor = tensor * scale[(..., *(None,) * (tensor.ndim - 1))]
    elif "lm_head" in name:
        tensor = tensor * config["lm_head_multiplier"]
    elif "embed_tokens" in name:
        tensor = tensor * config["embedding_multiplier"]
    return [(new, tensor)]


def _granite_hybrid(config, name, tensor):
    if "input_linear" in name:
        gate, up = np.split(tensor, 2, axis=-2)
        if "block_sparse_moe" in name:
            base = name.replace("block_sparse_moe.input_linear", "mlp.experts.{}_proj")
        elif config["num_local_experts"]:
            base = name.replace("shared_mlp.input_linear", "mlp.shared_expert.{}_proj")
        else:
            base = name.replace("shared_mlp.input_linear", "mlp.{}_proj")
        return [(base.format("gate"), gate), (base.format("up"), up)]
    if name.endswith("shared_mlp.output_linear.weight") and not config["num_local_experts"]:
        return [(name.replace("shared_mlp.output_linear", "mlp.down_proj"), tensor)]
    return _mamba2(config, name, tensor) if ".mamba." in name else _llama(config, name, tensor)


def _nemotron(config, name, tensor):
    if name.endswith("e_score_correction_bias"):
        return [(name.replace("_bias", ".bias"), tensor)]
    return (
        _granite_hybrid(config | {"num_local_experts": 1}, name, tensor)
        if (".q_proj." in name or ".k_proj." in name)
        else _mamba2(config, name, tensor)
    )


def _lfm2(config, name, tensor):
    return [(name, tensor.squeeze(1) if "conv.conv.weight" in name else tensor)]


def _qwen_next(config, name, tensor):
    if name.endswith(".A_log"):
        tensor = _negative_exponential(tensor)
    elif name.endswith(".dt_bias"):
        name = name.replace(".dt_bias", ".dt_proj.bias")
    elif "conv1d" in name:
        tensor = tensor.squeeze()
    elif name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
        tensor = tensor + 1
    if "in_proj_qkvz.weight" not in name:
        return [(name, tensor)]
    keys, width = config["linear_num_key_heads"], config["linear_key_head_dim"]
    values = config["linear_num_value_heads"] // keys * config["linear_value_head_dim"]
    by_head = tensor.reshape(keys, 2 * width + 2 * values, -1)
    parts = np.split(by_head, np.cumsum([width, width, values]), axis=1)
    q, k, v, z = (part.reshape(-1, tensor.shape[1]) for part in parts)
    qkv = name.replace("in_proj_qkvz", "in_proj_qkv")
    return [(qkv, np.concatenate([q, k, v])), (name.replace("in_proj_qkvz", "in_proj_z"), z)]


def _tiled(config, tensor, size, axis=0, first=0):
    """Value heads from grouped by key head to tiled over the key heads."""
    keys = config["linear_num_key_heads"]
    before, heads = np.split(np.moveaxis(tensor, axis, 0), [first])
    by_key = heads.reshape(keys, -1, size, *heads.shape[1:]).swapaxes(0, 1).reshape(heads.shape)
    return np.moveaxis(np.concatenate([before, by_key]), 0, axis)


def _qwen35(config, name, tensor):
    width = config["linear_value_head_dim"]
    before = 2 * config["linear_num_key_heads"] * config["linear_key_head_dim"]
    if ".in_proj_qkv." in name or ".conv1d." in name:
        tensor = _tiled(config, tensor, width, first=before)
    elif ".in_proj_z." in name:
        tensor = _tiled(config, tensor, width)
    elif name.endswith((".in_proj_a.weight", ".in_proj_b.weight", ".A_log", ".dt_bias")):
        tensor = _tiled(config, tensor, 1)
    elif "linear_attn.out_proj." in name:
        tensor = _tiled(config, tensor, width, axis=1)
    return _qwen_next(config, name, tensor)


def _kimi(config, name, tensor):
    if name.endswith("_conv1d.weight"):
        channels, _, width = tensor.shape
        return [(name, tensor.reshape(1, channels, 1, width))]
    if name.endswith("kv_b_proj.weight"):
        heads = config["num_attention_heads"]
        by_head = tensor.reshape(heads, -1, tensor.shape[1])
        keys, values = np.split(by_head, [config["qk_nope_head_dim"]], axis=1)
        k_name, v_name = (name.replace("kv_b_proj", f"{letter}_b_proj") for letter in "kv")
        return [(k_name, keys.swapaxes(1, 2)), (v_name, values)]
    if name.endswith(".dt_bias"):
        return [(name.replace(".dt_bias", ".dt_proj.bias"), tensor)]
    if name.endswith("e_score_correction_bias"):
        return [(name.replace("_bias", ".bias"), tensor)]
    dense = re.sub(r"block_sparse_moe\.(gate|up|down)_proj", r"mlp.\1_proj", name)
    return [(dense, _negative_exponential(tensor) if name.endswith(".A_log") else tensor)]


def _gemma(config, name, tensor):
    return [(name, tensor + 1 if name.endswith("norm.weight") else tensor)]


def _gpt2(config, name, tensor):
    maps = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return [(name, tensor.T if name.endswith(maps) else tensor)]


_VALUES = {
    "mamba": _mamba,
    "falcon_mamba": _mamba,
    "mamba2": _mamba2,
    "jamba": _mamba,
    "falcon_h1": _falcon_h1,
    "bamba": _granite_hybrid,
    "granitemoehybrid": _granite_hybrid,
    "nemotron_h": _nemotron,
    "lfm2": _lfm2,
    "qwen3_next": _qwen_next,
    "qwen3_5_text": _qwen35,
    "qwen3_5_moe_text": _qwen35,
    "kimi_linear": _kimi,
    "llama": _llama,
    "mistral": _llama,
    "granite": _llama,
    "mixtral": _llama,
    "smollm3": _llama,
    "gemma": _gemma,
    "gemma2": _gemma,
    "gemma3_text": _gemma,
    "gpt2": _gpt2,
}
