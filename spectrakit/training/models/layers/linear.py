"""Linear attention as a module: `spectrakit.mixers.linear_attention`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.training.models.initial import projection
from spectrakit.training.models.kinds.linear import mixer_of
from spectrakit.training.models.mixer_module import MixerModule

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class LinearModule(MixerModule):
    """Linear attention with a normaliser: Katharopoulos et al. 2020 (arXiv 2006.16236)."""

    def __init__(self, config: SpectrakitConfig) -> None:
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """Projections as torch's linear layers."""
        for parameter in self.parameters(recurse=False):
            parameter.data.copy_(projection(tuple(parameter.shape)))
