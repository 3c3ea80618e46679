"""S5 as a module: `spectrakit.mixers.s5`, trained by a chunked scan of the stored states."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from spectrakit.dynamics.legs import legs_modes
from spectrakit.scans.parallel import parallel_form
from spectrakit.training.models.initial import generator_of, log_steps
from spectrakit.training.models.kinds.s5 import S5Options, mixer_of
from spectrakit.training.models.layers.static import StaticModule

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers import S5
    from spectrakit.training.models.config import SpectrakitConfig


class S5Module(StaticModule):
    """S5. Starts from HiPPO-LegS's normal part in blocks: Smith et al. 2023 (arXiv 2208.04933)."""

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"Lambda_re", "Lambda_im", "log_step"})
    eigenvalue_roles: frozenset[str] = recurrence_roles
    mixer: S5

    def __init__(self, config: SpectrakitConfig) -> None:
        self.options = S5Options(**(config.mixer_options or {}))
        self.initial = config.initial_eigenvalues
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class; B = V^* B' and C = C' V, B' and C' normal of variance 1 / N; D normal."""
        mixer, blocks = self.mixer, self.options.blocks
        size = mixer.state_size // blocks
        stored = size // 2
        frequency, vectors = legs_modes(size)
        vectors = vectors[:, :stored]
        step = log_steps((mixer.stored_states, 1), self.options)
        generator = torch.complex(torch.tensor(-0.5).double(), frequency[:stored]).repeat(blocks)
        if self.initial is not None:
            generator = self._named(self.initial, step.double().exp().flatten())
        std = mixer.state_size**-0.5
        key = std * torch.randn(blocks, size, mixer.model_width, dtype=torch.float64)
        query = std * torch.randn(mixer.model_width, blocks, size, dtype=torch.complex128) * 2**0.5
        key = (vectors.mH @ key.to(vectors)).flatten(0, 1)
        query = (query @ vectors).flatten(1)
        self.get_parameter("Lambda_re").data.copy_(generator.real)
        self.get_parameter("Lambda_im").data.copy_(generator.imag)
        self.get_parameter("log_step").data.copy_(step)
        for role, value in (("B", key), ("C", query)):
            self.get_parameter(role).data.copy_(torch.view_as_real(value.resolve_conj()))
        self.get_parameter("D").data.normal_()

    def _named(self, name: str, step: Tensor) -> Tensor:
        """Lambda (P,) of a named set. step: Delta (P,)."""
        stored = self.mixer.stored_states
        found = generator_of(name, 2 * stored, step)
        # Real sets have as many eigenvalues as dimensions, and each is stored as a pair.
        return found if found.shape[-1] == stored else generator_of(name, stored, step)

    def forward(self, hidden: Tensor) -> Tensor:
        """See `MixerModule.forward`."""
        half = self.mixer.recurrence(self.wide_roles(), conjugates=False)
        return parallel_form(half, hidden.unsqueeze(2)).squeeze(2).to(hidden.dtype)
