"""A model in memory, as a source of its tensors, and where and in what it runs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.architectures.module_tensors import held_tensors, unwrapped
from spectrakit.checkpoints.in_memory import TensorsInMemory
from spectrakit.checkpoints.stores import parse_json
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.plain import plain

if TYPE_CHECKING:
    import torch
    from torch import nn
else:
    torch = lazy_import("torch")


def source_of(
    module: nn.Module, config: object, name: str | None, tokenizer: object
) -> TensorsInMemory:
    """The tensors of a module, which may be in wrappers; nothing is copied.

    The arguments are those of `from_model`. Raises UnsupportedError where its parameters are in
    pieces that no one process has, UsageError for what is no config.
    """
    model = unwrapped(module)
    own = getattr(model, "config", None)
    over = isinstance(config, Mapping) and own is not None
    source = TensorsInMemory(
        model_id=name or _name_in(own) or type(model).__name__,
        config=as_config(own if over or config is None else config),
        held=held_tensors(model),
        module=model if _is_of_transformers(model) else None,
        tokenizer=tokenizer,
    )
    if over:
        source.configure(as_config(config))
    return source


def _is_of_transformers(model: nn.Module) -> bool:
    """Whether it is a model of transformers or of our trainer, or made of one: no other code.

    Our taps are for the layers of these.
    """
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return False
    classes = type(unwrapped(model.base_model)).__mro__
    return any(own.__module__.startswith(_MODELS) for own in classes)


#: Where classes of models are whose forward pass an architecture watches as it is.
_MODELS = ("transformers.models.", "spectrakit.training.models.")


def own_copy(source: TensorsInMemory) -> TensorsInMemory:
    """The same with weights of our own, to be changed; of a state dict, whatever `read` gives is.

    Raises UnsupportedError where a module cannot be copied.
    """
    module, held = source.module, source.held
    if module is not None:
        try:
            module = copy.deepcopy(module)
        except (RuntimeError, TypeError) as error:
            message = f"{source.model_id} cannot be copied, and is not changed itself: {error}"
            hint = "save_pretrained, and randomize the model in that folder"
            raise UnsupportedError(message.splitlines()[0], hint=hint) from error
        held = held_tensors(module)
    return TensorsInMemory(
        model_id=source.model_id, config=source.config, held=held, module=module, borrowed=False
    )


def as_config(config: object) -> dict[str, Any]:
    """A config as a config.json has it; empty for None.

    config: of transformers, a dataclass, or a mapping. Raises UsageError for anything else.
    """
    if config is None:
        return {}
    if hasattr(config, "to_json_string"):  # of transformers: what it would write to a file
        return parse_json(config.to_json_string().encode(), type(config).__name__)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    if isinstance(config, Mapping):
        return dict(config)
    message = f"a config is a mapping, a dataclass or one of transformers, not {type(config)!r}"
    raise UsageError(message, hint="config={'model_type': ..., ...}, as in a config.json")


def _name_in(config: object) -> str | None:
    """Where the model came from, as its config says: a Hub repository, or a folder's last name."""
    name = getattr(config, "_name_or_path", None) or getattr(config, "name_or_path", None)
    if not isinstance(name, str) or not name.strip("./ "):
        return None
    path = Path(name)
    return plain(path.resolve().name if path.is_absolute() or path.exists() else name)


def placement(module: nn.Module) -> tuple[str, str]:
    """The device and the dtype of a module that is on one device."""
    device = next(module.parameters()).device
    floating = (p.dtype for p in module.parameters() if p.is_floating_point())
    dtype = next(floating, torch.get_default_dtype())
    return str(device), str(dtype).removeprefix("torch.")


def check_asked(own: tuple[str, str], device: str | None, dtype: str | None) -> None:
    """Raise UsageError where a module whose `placement` is `own` is asked to run otherwise.

    None, and "auto", are wherever it is.
    """
    on, within = own
    if device not in (None, "auto", on, on.partition(":")[0]):
        message = f"the module is on {on} and runs there, not on {device}"
        raise UsageError(message, hint=f"module.to({device!r}) first, or device='auto'")
    if dtype not in (None, within):
        message = f"the module is in {within} and runs in it, not in {dtype}"
        raise UsageError(message, hint=f"module.to(torch.{dtype}) first, or leave the dtype out")
