"""LRU as a module: `spectrakit.mixers.lru`, trained by a chunked scan."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch

from spectrakit.training.models.initial import eigenvalues_of
from spectrakit.training.models.kinds.lru import LRUOptions, mixer_of
from spectrakit.training.models.layers.static import StaticModule

if TYPE_CHECKING:
    from spectrakit.mixers import LRU
    from spectrakit.training.models.config import SpectrakitConfig


class LRUModule(StaticModule):
    """LRU. Starts on a ring: Orvieto et al. 2023 (arXiv 2303.06349), lemma 3.2 and section 3.4."""

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"nu_log", "theta_log", "gamma_log"})
    eigenvalue_roles: frozenset[str] = frozenset({"nu_log", "theta_log"})
    mixer: LRU

    def __init__(self, config: SpectrakitConfig) -> None:
        self.options = LRUOptions(**(config.mixer_options or {}))
        self.initial = config.initial_eigenvalues
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """|lambda|^2 and phase uniform, or those of a named set; gamma = sqrt(1 - |lambda|^2)."""
        states, width = self.mixer.state_size, self.mixer.model_width
        log_modulus, phase = self._initial(states)
        self.get_parameter("nu_log").data.copy_((-log_modulus).log())
        self.get_parameter("theta_log").data.copy_(phase.clamp(min=1e-30).log())
        self.get_parameter("gamma_log").data.copy_(0.5 * torch.log(-torch.expm1(2 * log_modulus)))
        for role in ("B_re", "B_im"):
            self.get_parameter(role).data.normal_(std=(2 * width) ** -0.5)
        for role in ("C_re", "C_im"):
            self.get_parameter(role).data.normal_(std=states**-0.5)
        self.get_parameter("D").data.normal_()

    def _initial(self, states: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.initial is not None:
            found = eigenvalues_of(self.initial, 2 * states, self.options.dt)
            log_modulus = found.log_modulus[0, :states]
            phase = torch.zeros_like(log_modulus) if found.phase is None else found.phase[0]
            # Stored as a logarithm: a phase below 0 is the same turn the long way round.
            return log_modulus, phase[:states].remainder(2 * math.pi)
        low, high = self.options.r_min**2, self.options.r_max**2
        square = low + (high - low) * torch.rand(states, dtype=torch.float64)
        square = square.clamp(1e-30, 1 - 2**-24)
        phase = self.options.max_phase * torch.rand(states, dtype=torch.float64)
        return square.log() / 2, phase
