"""DSS as a module: `spectrakit.mixers.dss`, trained by the FFT of its kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch

from spectrakit.dynamics.legs import legs_modes
from spectrakit.scans.convolution import causal_convolution_fft, diagonal_kernel
from spectrakit.training.models.initial import generator_of, log_steps
from spectrakit.training.models.kinds.dss import DSSOptions, mixer_of
from spectrakit.training.models.layers.static import ChannelModule
from spectrakit.training.models.mixer_module import in_full_precision

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import DSS
    from spectrakit.training.models.config import SpectrakitConfig


class DSSModule(ChannelModule):
    """DSS, version exp. Starts from -1/2 + i w, w > 0 the frequencies of HiPPO-LegS.

    Gupta et al. 2022 (arXiv 2203.14343). All channels have one Lambda, so that a named set in
    discrete time is met at the middle of the initial steps only.
    """

    recurrence_roles: ClassVar[frozenset[str]] = frozenset(
        {"Lambda_log_neg_re", "Lambda_im", "log_dt"}
    )
    eigenvalue_roles: frozenset[str] = recurrence_roles
    mixer: DSS

    def __init__(self, config: SpectrakitConfig) -> None:
        self.options = DSSOptions(**(config.mixer_options or {}))
        self.initial = config.initial_eigenvalues
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class; W and D normal."""
        states = self.mixer.state_size
        if self.initial is None:
            frequency, _ = legs_modes(2 * states)
            generator = torch.complex(torch.tensor(-0.5).double(), -frequency[:states])
        else:
            generator = self._named(self.initial)
        self.get_parameter("Lambda_log_neg_re").data.copy_((-generator.real).log())
        self.get_parameter("Lambda_im").data.copy_(generator.imag)
        self.get_parameter("log_dt").data.copy_(log_steps((self.mixer.channels,), self.options))
        self.get_parameter("W").data.normal_()
        self.get_parameter("D").data.normal_()

    def _named(self, name: str) -> Tensor:
        """Lambda (N,) of a named set."""
        states = self.mixer.state_size
        middle = torch.tensor([math.sqrt(self.options.dt_min * self.options.dt_max)]).double()
        found = generator_of(name, 2 * states, middle)
        # Real sets have as many eigenvalues as dimensions.
        return found if found.shape[-1] == states else generator_of(name, states, middle)

    def forward(self, hidden: Tensor) -> Tensor:
        """See `MixerModule.forward`."""
        with in_full_precision(hidden) as u:
            p = self.wide_roles()
            log_decay, weight = self.mixer.kernel_terms(p)
            y = causal_convolution_fft(u, diagonal_kernel(log_decay, weight, u.shape[1]))
            return (y + u * p["D"].flatten()).to(hidden.dtype)
