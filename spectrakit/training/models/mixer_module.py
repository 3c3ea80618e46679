"""A mixer as a module to be trained: its parameters by role, its equations from `mixers`.

`forward` is the parallel form, for training; `observe` gives the recurrence on the same input,
which is what spectrakit reads. Both come from the one place where its equations are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from spectrakit.scans.parallel import parallel_form

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import Mixer, Observation
    from spectrakit.mixers.base import Parameters


class MixerModule(nn.Module):
    """A mixer with its parameters, named by their roles.

    A subclass says which mixer a config makes, and how its parameters start; one whose equations
    are in a `from_input` need not say more.

    mixer: the layer's sizes and equations.
    """

    #: Roles of the parameters that make up the recurrence: trained at a rate of their own, without
    #: weight decay, and kept in float32.
    recurrence_roles: ClassVar[frozenset[str]] = frozenset()
    #: Those of them that the eigenvalues of weights mode come from, and that `frozen` may keep.
    eigenvalue_roles: frozenset[str] = frozenset()

    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer
        self._latest: dict[MixerModule, Observation] | None = None
        for role, shape in mixer.shapes().items():
            self.register_parameter(role, nn.Parameter(torch.empty(shape)))
        mark_recurrence(self, self.recurrence_roles)

    def reset_parameters(self) -> None:
        """Draw the parameters' initial values, by torch's own generator."""
        raise NotImplementedError

    def roles(self) -> Parameters:
        """The parameters by role; gradients flow to them."""
        return dict(self.named_parameters(recurse=False))

    def wide_roles(self) -> Parameters:
        """The same in float32 at least: what complex numbers are made of."""
        return {
            role: x.to(torch.promote_types(x.dtype, torch.float32))
            for role, x in self.roles().items()
        }

    def observe(self, hidden: Tensor) -> Observation:
        """The layer's recurrence on its input `hidden` (B, T, E), to be run token by token."""
        mixer: Any = self.mixer
        seen: Observation = mixer.from_input(hidden, self.roles())
        return seen

    def observed(self, hidden: Tensor) -> Observation:
        """As `observe`; what the call just made saw where that is `keeping`, once."""
        kept = None if self._latest is None else self._latest.pop(self, None)
        return self.observe(hidden) if kept is None else kept

    def forward(self, hidden: Tensor) -> Tensor:
        """The layer's output (B, T, E) on `hidden` (B, T, E), in parallel over tokens."""
        seen = self.observe(hidden)
        if self._latest is not None:
            self._latest.clear()
            self._latest[self] = seen
        y = parallel_form(seen.recurrence, seen.inputs)
        return y.to(hidden.dtype) if seen.finish is None else seen.finish(y.to(hidden.dtype))


@contextmanager
def keeping(model: nn.Module) -> Iterator[None]:
    """What the mixer of `model` called last saw is kept, until `observed` asks for it."""
    mixers = [module for module in model.modules() if isinstance(module, MixerModule)]
    try:
        latest: dict[MixerModule, Observation] = {}
        for module in mixers:
            module._latest = latest
        yield
    finally:
        for module in mixers:
            module._latest = None


@contextmanager
def in_full_precision(x: Tensor) -> Iterator[Tensor]:
    """`x` in float32 at least, with autocast off meanwhile."""
    with torch.autocast(x.device.type, enabled=False):
        yield x.to(torch.promote_types(x.dtype, torch.float32))


def mark_recurrence(module: nn.Module, names: frozenset[str]) -> None:
    """Mark parameters of `module` as those of a recurrence; see `is_recurrence`."""
    for name in names:
        parameter = getattr(module, name, None)
        if parameter is not None:
            parameter.of_recurrence = True


def is_recurrence(parameter: nn.Parameter) -> bool:
    """Whether the trainer gives it a rate of its own and no weight decay."""
    return getattr(parameter, "of_recurrence", False)
