"""The dense recurrence as a module: `spectrakit.mixers.dense`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from spectrakit.training.models.initial import eigenvalues_of
from spectrakit.training.models.kinds.dense import DenseOptions, mixer_of
from spectrakit.training.models.layers.static import StaticModule

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers.dense import DenseRecurrence
    from spectrakit.training.models.config import SpectrakitConfig


class DenseModule(StaticModule):
    """h_t = A h_{t-1} + B u_t with A free.

    Starts with entries of A normal, of variance radius^2 / N, whose eigenvalues fill a disc of that
    radius (the circular law), or with those of a named set in blocks of two.
    """

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"A"})
    eigenvalue_roles: frozenset[str] = frozenset({"A"})
    mixer: DenseRecurrence

    def __init__(self, config: SpectrakitConfig) -> None:
        self.options = DenseOptions(**(config.mixer_options or {}))
        self.initial = config.initial_eigenvalues
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class."""
        states, width = self.mixer.state_size, self.mixer.model_width
        if self.initial is None:
            self.get_parameter("A").data.normal_(std=self.options.radius * states**-0.5)
        else:
            self.get_parameter("A").data.copy_(_blocks(self.initial, states, self.options.dt))
        self.get_parameter("B").data.normal_(std=width**-0.5)
        self.get_parameter("C").data.normal_(std=states**-0.5)
        self.get_parameter("D").data.normal_()


def _blocks(name: str, states: int, step: float) -> Tensor:
    """A real matrix with the eigenvalues of the set, complex ones as turns of two states."""
    found = eigenvalues_of(name, states, step)
    modulus = found.modulus[0]
    if found.phase is None:
        return torch.diag(modulus)
    cos, sin = modulus * found.phase[0].cos(), modulus * found.phase[0].sin()
    turns = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    whole: Tensor = torch.block_diag(*turns)
    return whole
