"""S4D as a module: `spectrakit.mixers.s4d`, trained by the FFT of its kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from spectrakit.errors import UsageError
from spectrakit.scans.convolution import causal_convolution_fft, diagonal_kernel
from spectrakit.training.models.initial import generator_of, log_steps
from spectrakit.training.models.kinds.s4d import S4DOptions, mixer_of
from spectrakit.training.models.layers.static import ChannelModule
from spectrakit.training.models.mixer_module import in_full_precision

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import S4D
    from spectrakit.training.models.config import SpectrakitConfig


class S4DModule(ChannelModule):
    """S4D: A = -exp(A_real) + i A_imag on every channel, B = 1, zero-order hold.

    Starts from S4D-Lin (S4D-Real where real): Gu et al. 2022 (arXiv 2206.11893), section 4.
    """

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"A_real", "A_imag", "step"})
    eigenvalue_roles: frozenset[str] = recurrence_roles
    mixer: S4D

    def __init__(self, config: SpectrakitConfig) -> None:
        self.options = S4DOptions(**(config.mixer_options or {}))
        self.initial = config.initial_eigenvalues
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class; C normal, D normal."""
        channels = self.mixer.heads
        step = log_steps((channels, 1), self.options)
        name = self.initial or ("s4d-real" if self.options.real else "s4d-lin")
        generator = generator_of(name, self.options.state_size, step.double().exp())
        if generator.shape[-1] != self.mixer.parameters.stored_states:
            kind, real = ("complex", "false") if self.options.real else ("real", "true")
            message = f"the eigenvalues of {name!r} are {kind}, and those of this S4D are not"
            raise UsageError(message, hint=f"real = {real}, or another initial_eigenvalues")
        self.get_parameter("A_real").data.copy_((-generator.real).log())
        if not self.options.real:
            self.get_parameter("A_imag").data.copy_(generator.imag)
        self.get_parameter("step").data.copy_(step.squeeze(-1))
        self.get_parameter("C").data.normal_(std=0.5**0.5)
        self.get_parameter("D").data.normal_()

    def forward(self, hidden: Tensor) -> Tensor:
        """See `MixerModule.forward`."""
        with in_full_precision(hidden) as u:
            p = self.wide_roles()
            log_decay, weight = self.mixer.stored_half(p)
            y = causal_convolution_fft(u, diagonal_kernel(log_decay, weight, u.shape[1]))
            return (y + u * p["D"]).to(hidden.dtype)
