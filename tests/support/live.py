"""Live models for tests, and everything about them that a run has to leave as it was."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spectrakit.architectures.transformers_model import quiet_transformers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from tests.families.base import Family


def live(family: Family, folder: Path) -> nn.Module:
    """The family's model as transformers opens it, in training: with gradients and dropout."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_MAPPING,
        AutoConfig,
    )

    config = AutoConfig.from_pretrained(family.write(folder))
    with_head = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    classes: Any = MODEL_FOR_CAUSAL_LM_MAPPING if with_head else MODEL_MAPPING
    with quiet_transformers():
        module: nn.Module = classes[type(config)].from_pretrained(folder).train()
    for index, parameter in enumerate(module.parameters()):
        parameter.requires_grad_(index % 3 > 0)
        parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
    return module


def state_of(module: nn.Module) -> dict[str, Any]:
    """All that a run must leave bit by bit: by what it is called."""
    found: dict[str, Any] = {
        "torch's random state": torch.random.get_rng_state().numpy().tobytes(),
        "numpy's random state": repr(np.random.get_state()),
        "python's random state": random.getstate(),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        found[name] = (id(tensor), tensor.data_ptr(), tensor.requires_grad, _bytes(tensor))
        found[f"grad of {name}"] = None if tensor.grad is None else _bytes(tensor.grad)
    for path, part in module.named_modules():
        for key, value in vars(part).items():
            found[f"{path}.{key}"] = _told(value)
        config = getattr(part, "config", None)
        if hasattr(config, "to_dict"):
            found[f"config of {path}"] = (id(config), repr(sorted(vars(config).items(), key=str)))
    return found


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _told(value: object) -> object:
    """An attribute: which object it is, and which are in it."""
    if isinstance(value, dict):
        return id(value), [(key, id(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | set):
        return id(value), [id(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else id(value)


@contextlib.contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[None]:
    """Fails where anything of `module`, or of torch, is not the same after the block."""
    before = state_of(module)
    try:
        yield
    finally:
        after = state_of(module)
        changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        assert not changed, changed[:5]
