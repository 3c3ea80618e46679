"""Folders of PEFT: an adapter, and the name of its base model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.forms.base import Form, Made, Maker, Original
from tests.support.peft_adapters import ALPHA, RANK, lora, of_module, write_adapter

_MIXER = "backbone.layers.{}.mixer"


def _peft(kind: str, **config: Any) -> Maker:
    """Made by the library, its weights far from the first ones; and merged by it."""

    def make(folder: Path, original: Original) -> Made:
        import peft

        model = peft.get_peft_model(original.module(), getattr(peft, kind)(**config))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        model.save_pretrained(folder)
        like = folder.parent / "like"
        model.merge_and_unload().save_pretrained(like)
        return Made(folder, like)

    return make


def _written(parts: Callable[[dict, str], tuple[dict, dict]] | None = None, **config: Any) -> Maker:
    """In PEFT's layout. parts: gives what the adapter has of a mixer, and what that comes to."""

    def make(folder: Path, original: Original) -> Made:
        before = original.tensors
        adapter, after = {}, original.module().state_dict()
        for number in range(3) if parts else ():
            own, merged = parts(before, _MIXER.format(number))
            adapter |= own
            after |= merged
        write_adapter(folder / "adapter", original.folder, adapter, **config)
        return Made(folder / "adapter", original.save_with(folder / "like", after))

    return make


def _lora(before: dict, mixer: str) -> tuple[dict, dict]:
    name = f"{mixer}.in_proj"
    a, b = lora(before[f"{name}.weight"])
    b = 0.1 * b  # a change of the size of the weight
    merged = before[f"{name}.weight"] + ALPHA / RANK * b @ a
    return of_module(name, a, b), {f"{name}.weight": merged}


def _dora(before: dict, mixer: str) -> tuple[dict, dict]:
    adapter, merged = _lora(before, mixer)
    name = f"{mixer}.in_proj"
    direction = merged[f"{name}.weight"]
    magnitude = torch.linspace(1, 2, len(direction))
    scaled = direction * (magnitude / direction.square().sum(1).sqrt())[:, None]
    return adapter | {f"{name}.lora_magnitude_vector": magnitude}, {f"{name}.weight": scaled}


def _of_steps(before: dict, mixer: str) -> tuple[dict, dict]:
    """bias="lora_only": the bias is the step, and is kept as of the layer that is wrapped."""
    name = f"{mixer}.dt_proj"
    bias = before[f"{name}.bias"] + 0.5
    a, b = lora(before[f"{name}.weight"])
    merged = before[f"{name}.weight"] + ALPHA / RANK * b @ a
    adapter = of_module(name, a, b) | {f"{name}.base_layer.bias": bias}
    return adapter, {f"{name}.weight": merged, f"{name}.bias": bias}


def _trained_rates(before: dict, mixer: str) -> tuple[dict, dict]:
    rates = {f"{mixer}.A_log": 1.25 * before[f"{mixer}.A_log"]}
    return _lora(before, mixer)[0] | rates, _lora(before, mixer)[1] | rates


_LINEAR = {"target_modules": ["in_proj", "x_proj"]}
#: Sums of float32 are taken in another order than PEFT's.
_ROUNDING = 1e-5


def _form(name: str, says: str, library: Maker | None, written: Maker, **more: Any) -> Form:
    packages = () if library is None else ("peft",)
    return Form(name, says, library, packages, written, tolerance=_ROUNDING, **more)


def _other(name: str, says: str, kind: str, written: dict[str, Any], **config: Any) -> Form:
    """One that is not merged here."""
    return _form(
        name, says, _peft(kind, **config), _written(**written), refused=True, way_out="merged"
    )


FORMS = (
    _form("PEFT LoRA", "changes no A and no step at its bias", _peft("LoraConfig", r=4, **_LINEAR),
          _written(_lora)),
    _form("PEFT DoRA", "changes no A and no step at its bias",
          _peft("LoraConfig", r=4, use_dora=True, **_LINEAR), _written(_dora, use_dora=True)),
    _form("PEFT LoRA of dt_proj, with its bias", "its LoRA of dt_proj counts here",
          _peft("LoraConfig", r=4, target_modules=["dt_proj"], bias="lora_only"),
          _written(_of_steps, bias="lora_only")),
    _form("PEFT LoRA, A_log trained beside", "in 3 of 3 layers, the most backbone.layers", None,
          _written(_trained_rates)),
    _other("PEFT LoRA that began as PiSSA, OLoRA, CorDA, LoftQ",
           "is a PEFT adapter of changed base weights (init_lora_weights is 'pissa')",
           "LoraConfig", {"init_lora_weights": "pissa"}, r=4, init_lora_weights="pissa", **_LINEAR),
    _other("PEFT LoRA of target_parameters", "not merged here (target_parameters)",
           "LoraConfig",
           {"target_parameters": ["mixer.A_log"]}, r=4, target_parameters=["mixer.A_log"],
           target_modules=[]),
    _other("PEFT IA3", "not merged here (IA3)", "IA3Config", {"peft_type": "IA3"},
           feedforward_modules=[], **_LINEAR),
    _other("PEFT VeRA", "not merged here (VERA)", "VeraConfig", {"peft_type": "VERA"},
           target_modules=["x_proj"]),
)  # fmt: skip
