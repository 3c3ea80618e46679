"""Adapters in the layout of PEFT."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

RANK, ALPHA = 4, 6


def write_adapter(folder, base, tensors, **config):
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA} | config
    config = {"base_model_name_or_path": str(base)} | config
    (folder / "adapter_config.json").write_text(json.dumps(config))
    named = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors")
    return folder


def lora(weight, rank=RANK):
    generator = torch.Generator().manual_seed(0)
    out, width = weight.shape
    return (
        torch.randn(rank, width, generator=generator),
        torch.randn(out, rank, generator=generator),
    )


def of_module(module, a, b):
    return {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
