"""S4 as a module: `spectrakit.mixers.s4`, trained by its kernel's generating function."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from spectrakit.dynamics.legs import legs_modes
from spectrakit.errors import UsageError
from spectrakit.scans.convolution import causal_convolution_fft
from spectrakit.scans.resolvent import dplr_kernel
from spectrakit.training.models.initial import generator_of, log_steps
from spectrakit.training.models.kinds.s4 import S4Options, mixer_of
from spectrakit.training.models.layers.static import ChannelModule
from spectrakit.training.models.mixer_module import in_full_precision

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import S4
    from spectrakit.training.models.config import SpectrakitConfig


class S4Module(ChannelModule):
    """S4: diag(Lambda) - P P^* on every channel, bilinear; what is stored as C is C (I - A_bar^L).

    L is the config's `max_position_embeddings`: longer sequences have no kernel. Starts from
    HiPPO-LegS (Gu et al. 2022, arXiv 2111.00396), or diagonal from a named set.
    """

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"A_real", "A_imag", "step", "P", "B"})
    eigenvalue_roles: frozenset[str] = frozenset({"A_real", "A_imag", "step", "P"})
    mixer: S4

    def __init__(self, config: SpectrakitConfig) -> None:
        self.options = S4Options(**(config.mixer_options or {}))
        self.initial = config.initial_eigenvalues
        self.length = config.max_position_embeddings
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class; C normal, D normal."""
        channels, half = self.mixer.heads, self.mixer.parameters.stored_states
        step = log_steps((channels, 1), self.options)
        if self.initial is None:
            frequency, vectors = legs_modes(2 * half)
            root = (torch.arange(2 * half, dtype=torch.float64) + 0.5).sqrt().to(vectors)
            low_rank = (vectors.mH @ root)[:half].expand(channels, -1)
            imaginary = frequency[:half].expand(channels, -1)
            generator = torch.complex(torch.full_like(imaginary, -0.5), imaginary)
            key = 2**0.5 * low_rank
        else:
            generator = generator_of(self.initial, 2 * half, step.double().exp())
            if generator.shape[-1] != half:
                message = f"the eigenvalues of {self.initial!r} are real; S4 stores conjugate pairs"
                raise UsageError(message, hint='mixer = "s4d" with real = true')
            low_rank, key = torch.zeros_like(generator), torch.ones_like(generator)
        self.get_parameter("A_real").data.copy_((-generator.real).log())
        # Stored with the sign -1: frequencies of LegS's first half are negative.
        self.get_parameter("A_imag").data.copy_(-generator.imag)
        for parameter, value in (
            (self.get_parameter("P"), low_rank),
            (self.get_parameter("B"), key),
        ):
            parameter.data.copy_(torch.view_as_real(value.resolve_conj().contiguous()))
        self.get_parameter("step").data.copy_(step)
        self.get_parameter("C").data.normal_(std=0.5**0.5)
        self.get_parameter("D").data.normal_()

    def forward(self, hidden: Tensor) -> Tensor:
        """See `MixerModule.forward`. Raises UsageError for sequences longer than L."""
        tokens = hidden.shape[1]
        if tokens > self.length:
            message = f"a sequence of {tokens} tokens; this S4 has kernels of {self.length}"
            raise UsageError(message, hint="a model with a larger max_position_embeddings")
        with in_full_precision(hidden) as u:
            p, stored = self.wide_roles(), self.mixer.parameters
            kernel = dplr_kernel(
                stored.generator(p),
                stored.low_rank(p)[0],
                stored.input(p),
                stored.output(p)[0],
                stored.step(p).squeeze(-1),
                self.length,
            )
            y = causal_convolution_fft(u, kernel[:, :tokens])
            return (y + u * p["D"]).to(hidden.dtype)
