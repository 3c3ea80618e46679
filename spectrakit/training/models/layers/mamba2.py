"""Mamba-2 as a module: `spectrakit.mixers.mamba2`, and its pseudo-LTI form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from spectrakit.training.models.initial import (
    inverse_softplus,
    log_steps,
    projection,
    real_eigenvalues_of,
)
from spectrakit.training.models.kinds.mamba2 import Mamba2Options, mixer_of
from spectrakit.training.models.mixer_module import MixerModule

if TYPE_CHECKING:
    import torch

    from spectrakit.mixers import Mamba2
    from spectrakit.training.models.config import SpectrakitConfig


class Mamba2Module(MixerModule):
    """Mamba-2. Starts with A uniform in [-16, -1]: Dao & Gu 2024 (arXiv 2405.21060).

    Pseudo-LTI: with A_h uniform in [-8, -2], |lambda| from .88 to .9997 (arXiv 2510.09379).
    """

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"A_log", "A", "step_bias", "D"})
    eigenvalue_roles: frozenset[str] = frozenset({"A_log", "A", "step_bias"})
    mixer: Mamba2

    def __init__(self, config: SpectrakitConfig) -> None:
        self.options = Mamba2Options(**(config.mixer_options or {}))
        self.initial = config.initial_eigenvalues
        if self.options.pseudo_lti:
            self.eigenvalue_roles = frozenset({"A"})
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class; step biases such that Delta is log-uniform in [dt_min, dt_max]."""
        mixer = self.mixer
        step = log_steps((mixer.heads,), self.options).exp()
        self.get_parameter("step_bias").data.copy_(inverse_softplus(step.double()))
        self._reset_decay(step)
        self.get_parameter("D").data.fill_(1.0)
        self.get_parameter("norm").data.fill_(1.0)
        for role in ("input_projection", "output_projection"):
            parameter = getattr(self, role)
            parameter.data.copy_(projection(tuple(parameter.shape)))
        bound = mixer.convolution_width**-0.5
        self.get_parameter("convolution").data.uniform_(-bound, bound)
        self.get_parameter("convolution_bias").data.uniform_(-bound, bound)

    def _reset_decay(self, step: torch.Tensor) -> None:
        log_decay = None
        if self.initial is not None:
            middle = math.sqrt(self.options.dt_min * self.options.dt_max)
            log_decay = real_eigenvalues_of(self.initial, self.mixer.heads, middle, "Mamba-2")
        if self.options.pseudo_lti:
            if log_decay is None:
                self.get_parameter("A").data.uniform_(-8, -2)
            else:
                self.get_parameter("A").data.copy_(inverse_softplus(-log_decay))
        elif log_decay is None:
            self.get_parameter("A_log").data.uniform_(1, 16).log_()
        else:
            self.get_parameter("A_log").data.copy_((-log_decay / step.double()).log())
