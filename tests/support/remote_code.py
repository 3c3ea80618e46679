"""Folders of models whose classes are code beside the weights, or of their own project alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support import bare

HEADS, WIDTH, LAYERS = 3, 4, 2


def write_folder(folder: Path, tensors, config) -> Path:
    """These tensors, and this config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def names_for_transformers(name: str) -> str:
    """As `convert_rwkv{5,6}_checkpoint_to_hf.py` (BBuf/RWKV-World-HF-Tokenizer) calls a tensor."""
    name = re.sub(r"^emb\.", "embeddings.", name)
    name = name.replace("blocks.0.ln0", "blocks.0.pre_ln")
    name = re.sub(r"blocks\.(\d+)\.att", r"blocks.\1.attention", name)
    name = re.sub(r"blocks\.(\d+)\.ffn", r"blocks.\1.feed_forward", name)
    for letter, word in (("k", "key"), ("v", "value"), ("r", "receptance"), ("g", "gate")):
        if name.endswith(f".time_mix_{letter}"):
            name = name.replace(f".time_mix_{letter}", f".time_mix_{word}")
    return name if name == "head.weight" else f"rwkv.{name}"


def write_rwkv_for_transformers(folder: Path, tensors, version: int) -> Path:
    """RWKV-5 or 6 with `tensors` in the project's names, as RWKV/v6-Finch-1B6-HF is laid out."""
    width = tensors["emb.weight"].shape[1]
    config = {
        "architectures": [f"Rwkv{version}ForCausalLM"],
        "auto_map": {
            "AutoConfig": f"configuration_rwkv{version}.Rwkv{version}Config",
            "AutoModelForCausalLM": f"modeling_rwkv{version}.Rwkv{version}ForCausalLM",
        },
        "attention_hidden_size": width,
        "bos_token_id": 0,
        "context_length": 4096,
        "eos_token_id": 0,
        "head_size": WIDTH,
        "hidden_size": width,
        "intermediate_size": None,
        "layer_norm_epsilon": 1e-05,
        "model_type": f"rwkv{version}",
        "num_hidden_layers": LAYERS,
        "rescale_every": 6,
        "tie_word_embeddings": False,
        "vocab_size": len(tensors["emb.weight"]),
    }
    renamed = {names_for_transformers(name): tensor for name, tensor in tensors.items()}
    return write_folder(folder, renamed, config)


def rwkv_decays(version: int, seed: int = 0):
    """What weights mode reads of such a model and tells its version by, in the project's names."""
    generator = torch.Generator().manual_seed(seed)
    channels = HEADS * WIDTH
    tensors = {"emb.weight": torch.ones(5, channels), "head.weight": torch.ones(5, channels)}
    for index in range(LAYERS):
        inside = f"blocks.{index}.att"
        shape = (HEADS, WIDTH) if version == 5 else (1, 1, channels)
        tensors |= {
            f"{inside}.time_decay": torch.rand(shape, generator=generator) * 7 - 6,
            f"{inside}.time_faaaa": torch.ones(HEADS, WIDTH),
            f"{inside}.ln_x.weight": torch.ones(channels),
        }
        if version == 6:
            tensors[f"{inside}.time_decay_w1"] = torch.ones(channels, 2)
        else:
            tensors[f"{inside}.time_mix_g"] = torch.ones(1, 1, channels)
    return tensors


def write_rwkv_decays(version: int, folder: Path) -> Path:
    """A folder with nothing but these."""
    return write_rwkv_for_transformers(folder, rwkv_decays(version), version)


def mamba_in_llama(generation: int, seed: int = 0):
    """Four blocks of a Llama: attention in 1 and 3, Mamba or Mamba-2 in 0 and 2.

    Names and shapes are those of `mamba{,2}/hybrid_mamba_layer.py` (jxiw/MambaInLlama), with
    d_inner = d_model = 8, d_state = 4 (which are the heads of 4 channels) and d_xb = 4.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(shape, generator=generator)

    mamba = {
        "in_proj_x.weight": (4, 8), "in_proj_z.weight": (8, 8), "conv1d.weight": (8, 1, 4),
        "conv1d.bias": (8,), "B_proj.weight": (4, 8), "C_proj.weight": (8, 8),
        "dt_proj_down.weight": (2, 8), "dt_proj.weight": (8, 2), "dt_proj.bias": (8,),
        "A_log": (8, 4), "D": (8,), "out_proj.weight": (8, 8),
    }  # fmt: skip
    mamba2 = {
        "in_proj.weight": (8 + 4 + 4 + 8 + 2, 8), "conv1d.weight": (16, 1, 4), "conv1d.bias": (16,),
        "dt_bias": (2,), "A_log": (2,), "D": (2,), "norm.weight": (8,), "out_proj.weight": (8, 8),
    }  # fmt: skip
    attention = {f"{name}_proj.weight": (8 if name in "qo" else 4, 8) for name in "qkvo"}
    around = {
        "input_layernorm.weight": (8,), "post_attention_layernorm.weight": (8,),
        "mlp.gate_proj.weight": (12, 8), "mlp.up_proj.weight": (12, 8),
        "mlp.down_proj.weight": (8, 12),
    }  # fmt: skip
    tensors = {"model.embed_tokens.weight": drawn(40, 8), "model.norm.weight": drawn(8)}
    for number in range(4):
        inside = attention if number % 2 else mamba if generation == 1 else mamba2
        module = "self_attn" if number % 2 else "mamba"
        shapes = around | {f"{module}.{name}": shape for name, shape in inside.items()}
        for name, shape in shapes.items():
            tensors[f"model.layers.{number}.{name}"] = drawn(*shape)
    return tensors


def write_mamba_in_llama(generation: int, folder: Path) -> Path:
    """Such a model, with the config of the Llama that it was distilled from."""
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
        "intermediate_size": 12, "num_hidden_layers": 4, "num_attention_heads": 2,
        "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
        "vocab_size": 40,
    }  # fmt: skip
    write_folder(folder, mamba_in_llama(generation), config)
    ssm = {"expand": 1, "ngroups": 2, "d_state": 4} if generation == 2 else {"d_state": 4}
    own = {
        "d_model": 8,
        "ssm_cfg": ssm,
        "d_inner": 8,
        "d_xb": 4,
        "n_layer": 4,
        "attn_layers": [1, 3],
    }
    (folder / "mamba_config.json").write_text(json.dumps(own))
    return folder


def write_unknown_model(folder: Path, kind: str = "mamba", *, auto_map: bool = True) -> Path:
    """Two layers of somebody's own class, whose config names a `model_type` that nothing knows."""
    config = {"model_type": "sashimi_lm", "hidden_size": 8, "num_hidden_layers": 2}
    if auto_map:
        config["auto_map"] = {"AutoModel": "modeling_sashimi.SashimiModel"}
    tensors = {
        f"backbone.blocks.{number}.ssm.{name}": tensor
        for number in range(2)
        for name, tensor in bare.LAYERS[kind].tensors.items()
    }
    return write_folder(folder, tensors, config)
