"""Layers of the delta rule as modules: `spectrakit.mixers.delta_layer`, by the WY form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from spectrakit.training.models.initial import (
    inverse_softplus,
    log_steps,
    projection,
    real_eigenvalues_of,
)
from spectrakit.training.models.kinds.delta import (
    GatedDeltaNetOptions,
    KimiDeltaOptions,
    gated_mixer_of,
    kimi_mixer_of,
    mixer_of,
)
from spectrakit.training.models.mixer_module import MixerModule

if TYPE_CHECKING:
    from spectrakit.mixers import Mixer
    from spectrakit.mixers.delta_layer import GatedDeltaLayer, KimiDeltaLayer
    from spectrakit.training.models.config import SpectrakitConfig


class DeltaNetModule(MixerModule):
    """DeltaNet: Yang et al. 2024 (arXiv 2406.06484)."""

    def __init__(self, config: SpectrakitConfig) -> None:
        super().__init__(self._mixer(config))

    @staticmethod
    def _mixer(config: SpectrakitConfig) -> Mixer:
        return mixer_of(config)

    def reset_parameters(self) -> None:
        """Projections as torch's linear layers."""
        for role, parameter in self.named_parameters(recurse=False):
            if role.endswith("projection"):
                parameter.data.copy_(projection(tuple(parameter.shape)))
        self.get_parameter("norm").data.fill_(1.0)


class _DecayingModule(DeltaNetModule):
    """What decays at its bias by A_log and a step."""

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"A_log", "step_bias"})
    eigenvalue_roles: frozenset[str] = recurrence_roles
    kind: ClassVar[type[GatedDeltaNetOptions]]

    def __init__(self, config: SpectrakitConfig) -> None:
        self.options = self.kind(**(config.mixer_options or {}))
        self.initial = config.initial_eigenvalues
        super().__init__(config)


class GatedDeltaNetModule(_DecayingModule):
    """Gated DeltaNet: Yang, Kautz & Hatamizadeh 2024 (arXiv 2412.06464).

    Starts with exp(A_log) uniform in [0, 16], and steps log-uniform, as its published code.
    """

    kind: ClassVar[type[GatedDeltaNetOptions]] = GatedDeltaNetOptions
    mixer: GatedDeltaLayer

    @staticmethod
    def _mixer(config: SpectrakitConfig) -> Mixer:
        return gated_mixer_of(config)

    def reset_parameters(self) -> None:
        """See the class; the decays at their bias may be those of a named set."""
        super().reset_parameters()
        step = log_steps((self.mixer.heads,), self.options).exp()
        self.get_parameter("step_bias").data.copy_(inverse_softplus(step.double()))
        rate = self.get_parameter("A_log").data
        if self.initial is None:
            rate.uniform_(0, 16).clamp_(min=1e-4).log_()
            return
        middle = math.sqrt(self.options.dt_min * self.options.dt_max)
        log_decay = real_eigenvalues_of(self.initial, self.mixer.heads, middle, "Gated DeltaNet")
        rate.copy_((-log_decay / step.double()).log())


class KimiDeltaModule(_DecayingModule):
    """Kimi delta attention: Kimi Team 2025 (arXiv 2510.26692).

    Starts with exp(A_log) uniform in [1, 16], and steps log-uniform, as its code in fla.
    """

    kind: ClassVar[type[GatedDeltaNetOptions]] = KimiDeltaOptions
    mixer: KimiDeltaLayer

    @staticmethod
    def _mixer(config: SpectrakitConfig) -> Mixer:
        return kimi_mixer_of(config)

    def reset_parameters(self) -> None:
        """See the class; the decays of every head at their bias may be those of a named set."""
        super().reset_parameters()
        rate, bias = self.get_parameter("A_log").data, self.get_parameter("step_bias").data
        states = self.mixer.state_size
        if self.initial is None:
            rate.uniform_(1, 16).log_()
            step = log_steps((self.mixer.heads * states,), self.options).exp()
            bias.copy_(inverse_softplus(step.double()))
            return
        middle = math.sqrt(self.options.dt_min * self.options.dt_max)
        log_decay = real_eigenvalues_of(self.initial, states, middle, "Kimi delta attention")
        rate.zero_()
        bias.copy_(inverse_softplus(-log_decay.double()).repeat(self.mixer.heads))
