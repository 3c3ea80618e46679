"""Models that are in memory already: a live module, or tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from spectrakit._lazy import lazy_import
from spectrakit.architectures import live_module, module_tensors
from spectrakit.architectures.bare.family import BareModules
from spectrakit.checkpoints.access import HubAccess
from spectrakit.checkpoints.in_memory import HeldTensor, TensorsInMemory, as_tensor, is_array
from spectrakit.checkpoints.state_dict import flatten
from spectrakit.errors import SpectrakitError, UnsupportedError, UsageError
from spectrakit.model import Model, check_config

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from spectrakit.architectures import Layer, RunnableModel
    from spectrakit.architectures.base import Adopting
else:
    torch = lazy_import("torch")


class ModelInMemory(Model):
    """A model in memory that an architecture claimed; its weights are read where they are.

    It is what it is at the moment: nothing that is read of its tensors is kept.
    """

    checkpoint: TensorsInMemory

    def __init__(
        self,
        tensors: TensorsInMemory,
        hub: HubAccess,
        why_not_run: str | None = None,
        key: str | None = None,
    ) -> None:
        """why_not_run: of a module whose forward pass cannot be had.

        Raises UnsupportedError where no architecture claims it.
        """
        super().__init__(tensors, hub, key)
        self._why_not_run = why_not_run

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """See `Model.layers`."""
        try:
            return super().layers
        except SpectrakitError as error:
            if (error.hint or "").startswith("spectrakit inspect"):
                error.hint = "is the config the one of these tensors? see model.checkpoint.tensors"
            raise

    @property
    def placement(self) -> tuple[str, str] | None:
        """Where the module is, and in what, where data mode runs that; else see `Model`."""
        module = self._module
        return None if module is None else live_module.placement(module)

    @property
    def _module(self) -> nn.Module | None:
        """The module that data mode runs as it is."""
        return self.checkpoint.module if hasattr(self.architecture, "adopt") else None

    def load(
        self, device: str | None = None, dtype: str | None = None, *, to_change: bool = False
    ) -> RunnableModel:
        """What data mode runs: the module itself where its family can, and no copy of it.

        Every pass leaves it as it was. device, dtype: None for its own. A model of other families,
        and one of tensors alone, is made of the tensors as one of files is, those that need not be
        converted shared. to_change: whether its weights are going to be changed, and have to be a
        copy.

        Raises UsageError where the module is elsewhere, UnsupportedError where it cannot be run or
        copied, and what `Model.load` does.
        """
        if self._why_not_run is not None:
            message = f"{self.checkpoint.model_id} cannot be run as it is: {self._why_not_run}"
            raise UnsupportedError(message, hint="mode='weights', where the model has that mode")
        source = live_module.own_copy(self.checkpoint) if to_change else self.checkpoint
        own = self.placement
        if own is None:
            with torch.random.fork_rng(devices=()):
                return self._loaded(source, device or "cpu", dtype or "float32")
        live_module.check_asked(own, device, dtype)
        self._check_finite(source)
        return cast("Adopting", self.architecture).adopt(source)


def from_model(
    module: nn.Module,
    *,
    config: object = None,
    name: str | None = None,
    tokenizer: object = None,
) -> Model:
    """A model of transformers, or any other module, as `open_checkpoint` would give it from files.

    Weights mode reads its parameters where they are; data mode runs the module itself, in
    evaluation mode, on its device and in its dtype, and leaves it as it was. It may be in wrappers
    (DistributedDataParallel, torch.compile, PEFT), which are looked through; of adapters, the
    weights that result are read. Of a module that transformers does not have, config and tensors'
    names say what it is, and data mode runs its equations where its family has such.

    config: of a module that has none, or has one that lacks keys: a mapping, a dataclass or a
    config of transformers, whose keys win. name: what tables call it; None for what its config was
    loaded from, or its class. tokenizer: of data mode, an object of transformers or tokenizers, or
    what `TokenOptions` takes; none is guessed.

    Warns, by the logger `spectrakit`, of keys of the config that nothing knows. Raises UsageError
    for what is no module, and for a key in `config` that nothing reads; UnsupportedError where no
    architecture claims the module, or no process has all of its parameters.
    """
    if not isinstance(module, torch.nn.Module):
        raise _not_taken("from_model", "a torch module", module)
    source = live_module.source_of(module, config, name, tokenizer)
    try:
        model = ModelInMemory(source, HubAccess(), module_tensors.why_not_run(module))
    except UnsupportedError as error:
        error.hint = _what_to_give(module) or error.hint
        raise
    if isinstance(model.architecture, BareModules) and (inner := _model_inside(module)):
        message = f"{source.model_id} holds a model of transformers, whose config says more of it"
        raise UnsupportedError(message, hint=inner)
    check_config(model)
    return model


def _model_inside(module: nn.Module) -> str | None:
    """How to give the model of transformers that `module` has inside; None where there is none."""
    from transformers import PreTrainedModel

    for path, inner in module.named_modules():
        if path and isinstance(inner, PreTrainedModel):
            return f"sk.from_model(module.{path})"
    return None


def _what_to_give(module: nn.Module) -> str | None:
    """What to try with a module that no architecture claims; None where nothing comes to mind."""
    if inside := _model_inside(module):
        return inside
    if getattr(module, "config", None) is None:
        return "sk.from_model(module, config={'model_type': ..., ...}), as in a config.json"
    return None


def from_state_dict(
    tensors: Mapping[str, Any],
    *,
    config: object = None,
    name: str = "state-dict",
    key: str | None = None,
    tokenizer: object = None,
) -> Model:
    """Tensors by name, as `open_checkpoint` would give them from files; none is copied.

    tensors: of torch or NumPy, or what `numpy.asarray` takes; under the names that files of the
    family have, or that the module has. Nested dicts, and what training programs put around a state
    dict, are looked through. config: a mapping, a dataclass or a config of transformers; needed but
    for families that tensors' names and shapes alone say. name: what tables call it. key: under
    which key the model is, where there are several. tokenizer: see `from_model`.

    Weights mode reads the tensors where they are. Data mode makes a model of them as of files,
    which shares those that need not be converted.

    Raises UsageError where there are no tensors, UnsupportedError where no architecture claims
    them, and what `from_model` raises for a config.
    """
    if not isinstance(tensors, Mapping):
        raise _not_taken("from_state_dict", "tensors by name", tensors)
    held = {}
    for own_name, array in flatten(tensors, name, is_array).items():
        tensor = as_tensor(own_name, array)
        held[own_name] = HeldTensor.of(own_name, tensor, partial(_itself, tensor))
    own = live_module.as_config(config)
    source = TensorsInMemory(model_id=name, config=own, held=held, tokenizer=tokenizer)
    model = ModelInMemory(source, HubAccess(), key=key)
    check_config(model)
    return model


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _not_taken(function: str, what: str, given: object) -> UsageError:
    message = f"{function} takes {what}, not {type(given).__name__}"
    hint = "from_model takes a module, from_state_dict tensors, open_checkpoint a name or a path"
    return UsageError(message, hint=hint)
