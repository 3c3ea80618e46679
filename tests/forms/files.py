"""Single files: how their names are prefixed, nested, and beside what."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.forms.base import Form, Made, Original, saved


def _state_dict(folder: Path, original: Original) -> Path:
    original.write_config(folder)
    saved(original.module().state_dict(), folder / "model.pt")
    return folder


def _no_config(folder: Path, original: Original) -> Path:
    return saved(original.module().state_dict(), folder / "model.pt")


def _safetensors_alone(folder: Path, original: Original) -> Path:
    return Path(shutil.copy(original.folder / "model.safetensors", folder / "weights.safetensors"))


def _compiled(folder: Path, original: Original) -> Path:
    original.write_config(folder)
    model = torch.compile(original.module())
    saved({"model": model.state_dict(), "iter_num": 3}, folder / "ckpt.pt")
    return folder


def _parallel(folder: Path, original: Original) -> Path:
    original.write_config(folder)
    model = torch.nn.DataParallel(original.module())  # names them as DistributedDataParallel does
    saved(model.state_dict(), folder / "ckpt.pt")
    return folder


def _nested(folder: Path, original: Original) -> Path:
    original.write_config(folder)
    model = original.module()
    optimizer = torch.optim.AdamW(model.parameters())
    state = {f"net.lm.{name}": value for name, value in model.state_dict().items()}
    saved({"epoch": 3, "model_state_dict": state, "optimizer": optimizer.state_dict()},
          folder / "best.pth")  # fmt: skip
    return folder


def _averaged(folder: Path, original: Original) -> Path:
    original.write_config(folder)
    model = torch.optim.swa_utils.AveragedModel(original.module())
    saved(model.state_dict(), folder / "ema.pt")
    return folder


def _two_models(folder: Path, original: Original) -> Path:
    original.write_config(folder)
    raw = {name: value + 1 for name, value in original.tensors.items()}
    saved({"params": raw, "params_ema": original.tensors}, folder / "net.pth")
    return folder


def _in_a_unet(folder: Path, original: Original) -> Path:
    blocks = {
        name.replace("backbone.layers", "unet.down").replace("mixer", "ssm"): value
        for name, value in original.tensors.items()
        if ".mixer." in name
    }
    around = {"unet.stem.weight": torch.ones(96, 3, 3, 3), "unet.head.bias": torch.ones(4)}
    return saved({"state_dict": blocks | around}, folder / "unet.pth")


def _shards(folder: Path, original: Original) -> Path:
    original.module().save_pretrained(folder, max_shard_size="200KB")
    return folder


def _half(folder: Path, original: Original) -> Made:
    rounded = original.module().bfloat16()
    rounded.save_pretrained(folder)
    like = folder.parent / "rounded"
    rounded.float().save_pretrained(like)
    return Made(folder, like)


def _small_floats(folder: Path, original: Original) -> Path:
    """Beside the model: tensors of dtypes that few libraries know."""
    tensors = original.tensors | {
        "calibration.scale": torch.ones(4).to(torch.float8_e8m0fnu),
        "calibration.packed": torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    original.write_config(folder)
    return folder


FORMS = (
    Form("torch.save of a state dict, config.json beside", "read by transformers-mamba",
         _state_dict, ("torch",)),
    Form("torch.save of a state dict, no config.json", "looks like mamba, 3 layers, width 96",
         _no_config, ("torch",)),
    Form("a safetensors file, no config.json", "looks like mamba, 3 layers, width 96",
         _safetensors_alone, ("safetensors",)),
    Form("shards with an index", "files 7 safetensors", _shards, ("transformers",)),
    Form("bfloat16", "BF16", _half, ("transformers",)),
    Form("torch.compile's _orig_mod.", "read by transformers-mamba", _compiled, ("torch",)),
    Form("DataParallel's, DDP's module.", "read by transformers-mamba", _parallel, ("torch",)),
    Form("AveragedModel", "read by transformers-mamba", _averaged, ("torch",)),
    Form("a dict of a training loop, the model inside a larger one", "net.lm.*", _nested,
         ("torch",)),
    Form("EMA beside raw weights, --key",
         "holds 2 models, under params, params_ema", _two_models, ("torch",),
         options={"key": "params_ema"}),
    Form("Mamba layers in a U-net", "looks like mamba, 3 layers, width 96", _in_a_unet, ("torch",),
         no_data="its layers are not blocks of a norm and a mixer each"),
    Form("safetensors with F4 and F8 beside", "F4", _small_floats, ("safetensors",),
         no_data="is quantised (calibration.scale is stored as F8_E8M0)"),
)  # fmt: skip
