"""The tensors of a module in memory, under the names that they have without what is around them.

Data parallelism, `torch.compile` and activation checkpointing put a module into another one, whose
name comes into those of the tensors; it is left out here. Adapters of PEFT put a layer's weight
beside their own: the weight that the layer computes with is read, base and adapter together.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.architectures.undisturbed import undisturbed
from spectrakit.checkpoints.in_memory import HeldTensor, is_packed
from spectrakit.checkpoints.unwrapping import AROUND
from spectrakit.errors import UnsupportedError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch = lazy_import("torch")


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, DataParallel, torch.compile and PEFT.

    Raises UnsupportedError where its parameters are in pieces that no one process has.
    """
    *_, module = _from_outside(module)
    for part in module.modules():
        if type(part).__name__ == "FullyShardedDataParallel":
            raise _in_pieces("FullyShardedDataParallel")
    if any(hasattr(parameter, "ds_id") for parameter in module.parameters()):
        raise _in_pieces("DeepSpeed ZeRO-3")
    return module


def why_not_run(module: nn.Module) -> str | None:
    """Why the forward pass of `module`, which may be in wrappers, is not run; None where it is."""
    for around in _from_outside(module):
        if _is_peft(around) and getattr(around.active_peft_config, "is_prompt_learning", False):
            return "PEFT puts a learned prompt before the tokens, which would be counted as tokens"
    for name, part in module.named_modules():
        if getattr(part, "disable_adapters", False) is True and getattr(part, "merged", False):
            return f"the adapters of {name} are merged and disabled, which a pass would undo"
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        if tensor.is_meta:
            return f"{name} is on the meta device and holds no values"
        if hasattr(tensor, "full_tensor"):
            return f"{name} is sharded over several processes"
        if is_packed(tensor):
            return f"{name} is quantised ({type(tensor).__name__})"
    devices = sorted({str(tensor.device) for _, tensor in tensors})
    if len(devices) > 1:
        return f"it is spread over {' and '.join(devices)}"
    return None


def _from_outside(module: nn.Module) -> Iterator[nn.Module]:
    """The module, what it wraps, what that wraps, and so on."""
    parallel = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    inner: Any = module
    while inner is not None:
        yield inner
        if isinstance(inner, parallel):
            inner = inner.module
        elif _is_peft(inner):
            inner = inner.get_base_model()
        else:
            inner = next((inner._modules[name] for name in AROUND if name in inner._modules), None)


def _is_peft(module: Any) -> bool:  # noqa: ANN401
    return hasattr(module, "peft_config") and hasattr(module, "get_base_model")


def _in_pieces(what: str) -> UnsupportedError:
    message = f"the parameters are in the pieces of {what}, and none is whole"
    return UnsupportedError(message, hint="gather the state dict, and sk.from_state_dict of it")


def held_tensors(module: nn.Module) -> dict[str, HeldTensor]:
    """What `module.state_dict()` would hold without wrappers and adapters; nothing is copied."""
    with torch.no_grad():
        return {name: HeldTensor.of(name, base(), read) for name, base, read in _held(module, "")}


_Read: TypeAlias = "Callable[[], Tensor]"


def _held(module: nn.Module, prefix: str) -> Iterator[tuple[str, _Read, _Read]]:
    """Each tensor's name, how to have one of its shape and dtype, and how to read it."""
    module, adapters = _without_wrappers(module)
    computed = list(getattr(module, "parametrizations", ()))
    buffers = [name for name in module._buffers if name not in module._non_persistent_buffers_set]
    for name in (*module._parameters, *buffers, *computed):
        base: _Read = partial(_parametrized if name in computed else getattr, module, name)
        if base() is None:
            continue
        read = base
        for layer in adapters:
            read = partial(_adapted, layer, name, read, prefix + name)
        yield prefix + name, base, read
    for name, child in module._modules.items():
        if child is not None and name != "parametrizations":
            yield from _held(child, f"{prefix}{name}.")


def _without_wrappers(module: nn.Module) -> tuple[nn.Module, list[nn.Module]]:
    """What is inside wrappers, and the layers of PEFT among those, the innermost first."""
    adapters: list[nn.Module] = []
    while True:
        inside = module._modules
        around = [name for name in AROUND if name in inside]
        if around:
            inner = inside[around[0]]
        elif "base_layer" in inside:
            adapters.insert(0, module)
            inner = inside["base_layer"]
        elif "original_module" in inside:
            inner = _saved(module, adapters)
        else:
            return module, adapters
        assert inner is not None  # noqa: S101  (wrappers are never empty)
        module = inner


def _saved(wrapper: Any, adapters: list[nn.Module]) -> nn.Module:  # noqa: ANN401
    """The copy of a module that PEFT trains beside it, or the module where that is not in use."""
    active = wrapper.active_adapters
    original: nn.Module = wrapper.original_module
    if wrapper.disable_adapters or not active:
        return original
    if "modules_to_save" not in wrapper._modules:
        adapters.insert(0, wrapper)  # another kind, which `_adapted` refuses
        return original
    saved: nn.Module = wrapper.modules_to_save[active[0]]
    return saved


def _adapted(layer: Any, name: str, read: _Read, full_name: str) -> Tensor:  # noqa: ANN401
    """The tensor `name` that a layer of PEFT computes with; read: gives its base layer's."""
    base: Tensor = read()
    active = [adapter for adapter in layer.active_adapters if adapter in _adapters_of(layer)]
    if layer.disable_adapters or getattr(layer, "merged", False) or not active:
        return base
    biased = any(getattr(layer, "lora_bias", {}).get(adapter) for adapter in active)
    plain = hasattr(layer, "lora_A") and not getattr(layer, "lora_variant", None)
    if plain and name != getattr(layer, "parameter_name", "weight"):
        if not (name == "bias" and biased):
            return base
        plain = False
    if not plain:
        message = f"an adapter ({type(layer).__name__}) changes {full_name} by more than a sum"
        raise UnsupportedError(message, hint="sk.from_model of a copy after merge_and_unload()")
    # Of a copy: the library rounds the adapter's own tensors to and fro where they are half floats.
    own = copy.deepcopy(layer)
    with torch.no_grad():
        for adapter in active:
            base = base + own.get_delta_weight(adapter).to(base.dtype)
    return base


def _adapters_of(layer: Any) -> set[str]:  # noqa: ANN401
    """The names of the adapters that this layer has."""
    names = getattr(layer, "adapter_layer_names", ())
    return {adapter for name in names for adapter in getattr(layer, name, ())}


def _parametrized(module: nn.Module, name: str) -> Tensor:
    parametrizations: Any = module.parametrizations
    with undisturbed(parametrizations[name]):
        found: Tensor = getattr(module, name)
    return found
