"""A module run for evaluation that is afterwards what it was before, bit by bit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
else:
    torch = lazy_import("torch")

#: Buffers of up to so many bytes are kept, in case the forward pass writes into them.
_KEPT = 1 << 20


@contextmanager
def undisturbed(module: nn.Module, settle: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Have `module` in evaluation mode in this block, and leave everything as it was.

    Flags, attributes, hooks, configs and buffers of the module and of all modules in it, torch's
    random state, its gradient mode and autocast are put back, after an error too. Compiled modules
    run uncompiled meanwhile. settle: called in the block's beginning, may change attributes, too.

    Raises AnalysisError where the forward pass has written into a parameter or a large buffer.
    """
    modules = list(module.modules())
    held = [_Attributes.of(holder) for holder in (*modules, *_configs(modules))]
    tensors = [_Written.of(name, tensor) for name, tensor in _tensors(module)]
    with ExitStack() as stack:
        stack.callback(_put_back, held, tensors)
        stack.enter_context(_random_state_kept(module))
        stack.enter_context(torch.no_grad())
        for kind in {"cpu", *(tensor.device.type for _, tensor in _tensors(module))} - {"meta"}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if "torch._dynamo" in sys.modules:
            # Hooks and flags would have it compile anew.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for inner in modules:
            inner.training = False  # not by eval(), at which some adapters merge their weights
        # Products of matrices that record gradients are not rounded as others are.
        for parameter in [p for p in module.parameters() if p.requires_grad]:
            stack.callback(parameter.requires_grad_, True)
            parameter.requires_grad_(False)
        settle()
        yield


def _put_back(held: list[_Attributes], tensors: list[_Written]) -> None:
    for attributes in held:
        attributes.put_back()
    changed = [written.name for written in tensors if not written.put_back()]
    if changed:
        message = f"the forward pass wrote into {changed[0]}, which is not as it was any more"
        raise AnalysisError(message, hint="save_pretrained, and open_checkpoint of the folder")


def _configs(modules: list[nn.Module]) -> list[object]:
    """The configs of all modules, each once."""
    found = {}
    for module in modules:
        config = getattr(module, "config", None)
        if hasattr(config, "__dict__"):
            found[id(config)] = config
    return list(found.values())


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


@contextmanager
def _random_state_kept(module: nn.Module) -> Iterator[None]:
    devices = {tensor.device for _, tensor in _tensors(module)} - {torch.device("cpu")}
    kinds = {device.type for device in devices} - {"meta"}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=()))
        for kind in kinds:
            of_kind = [device for device in devices if device.type == kind]
            stack.enter_context(torch.random.fork_rng(devices=of_kind, device_type=kind))
        yield


@dataclass(frozen=True)
class _Attributes:
    """The attributes of an object, and what was in those of them that are containers."""

    holder: object
    values: dict[str, Any]
    contents: dict[str, Any]

    @classmethod
    def of(cls, holder: object) -> _Attributes:
        values = dict(vars(holder))
        containers = {key: value for key, value in values.items() if _is_container(value)}
        return cls(holder, values, {key: value.copy() for key, value in containers.items()})

    def put_back(self) -> None:
        now = vars(self.holder)
        for key in now.keys() - self.values.keys():
            del now[key]
        now.update(self.values)
        for key, content in self.contents.items():
            container = self.values[key]
            if _same(container, content):
                continue
            container.clear()
            if isinstance(container, list):
                container.extend(content)
            else:
                container.update(content)


def _is_container(value: object) -> bool:
    return isinstance(value, dict | list | set)


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401  (containers of one type)
    """Whether both hold the very same objects, in the same order where they have one."""
    if isinstance(one, set):
        return bool(one == other)
    if isinstance(one, dict):
        one, other = ([part for item in held.items() for part in item] for held in (one, other))
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class _Written:
    """A tensor, how often it had been written into, and what was in it where that is little."""

    name: str
    tensor: Tensor
    version: int
    content: Tensor | None

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> _Written:
        small = not tensor.is_meta and tensor.numel() * tensor.element_size() <= _KEPT
        is_buffer = not isinstance(tensor, torch.nn.Parameter)
        return cls(name, tensor, _version(tensor), tensor.clone() if small and is_buffer else None)

    def put_back(self) -> bool:
        """Whether it is as it was."""
        if _version(self.tensor) == self.version:
            return True
        if self.content is None:
            return False
        with torch.no_grad():
            self.tensor.copy_(self.content)
        return True


def _version(tensor: Tensor) -> int:
    """How often it was written into; tensors made in inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version
