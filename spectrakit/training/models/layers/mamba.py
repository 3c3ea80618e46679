"""Mamba as a module: `spectrakit.mixers.mamba`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch

from spectrakit.training.models.initial import (
    inverse_softplus,
    log_steps,
    projection,
    real_eigenvalues_of,
)
from spectrakit.training.models.kinds.mamba import MambaOptions, mixer_of
from spectrakit.training.models.mixer_module import MixerModule

if TYPE_CHECKING:
    from spectrakit.mixers import Mamba
    from spectrakit.training.models.config import SpectrakitConfig


class MambaModule(MixerModule):
    """Mamba. Starts with A = -(1, ..., N): Gu & Dao 2023 (arXiv 2312.00752), section 3.6."""

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"A_log", "step_bias", "D"})
    eigenvalue_roles: frozenset[str] = frozenset({"A_log", "step_bias"})
    mixer: Mamba

    def __init__(self, config: SpectrakitConfig) -> None:
        self.options = MambaOptions(**(config.mixer_options or {}))
        self.initial = config.initial_eigenvalues
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class; step biases such that Delta is log-uniform in [dt_min, dt_max]."""
        mixer, options = self.mixer, self.options
        step = log_steps((mixer.channels,), options).exp()
        states = mixer.state_size
        if self.initial is None:
            a_log = (
                torch.arange(1, states + 1, dtype=torch.float64).log().expand(mixer.channels, -1)
            )
        else:
            # lambda = exp(-Delta exp(A_log)) at the step's bias, whatever that is in a channel.
            middle = math.sqrt(options.dt_min * options.dt_max)
            log_decay = real_eigenvalues_of(self.initial, states, middle, "Mamba")
            a_log = (-log_decay / step.double().unsqueeze(-1)).log()
        self.get_parameter("A_log").data.copy_(a_log)
        self.get_parameter("step_bias").data.copy_(inverse_softplus(step.double()))
        self.get_parameter("D").data.fill_(1.0)
        for role in ("input_projection", "selection_projection", "output_projection"):
            parameter = getattr(self, role)
            parameter.data.copy_(projection(tuple(parameter.shape)))
        bound = mixer.step_rank**-0.5
        self.get_parameter("step_projection").data.uniform_(-bound, bound)
        bound = mixer.convolution_width**-0.5
        self.get_parameter("convolution").data.uniform_(-bound, bound)
        self.get_parameter("convolution_bias").data.uniform_(-bound, bound)
