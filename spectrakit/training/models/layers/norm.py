"""Norm attention as a module: `spectrakit.mixers.norm_attention`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from spectrakit.training.models.initial import projection
from spectrakit.training.models.kinds.norm import mixer_of
from spectrakit.training.models.mixer_module import MixerModule

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class NormModule(MixerModule):
    """Norm attention; offsets start evenly from 4 to 9 over the heads, as in arXiv 2510.09379."""

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"offset"})

    def __init__(self, config: SpectrakitConfig) -> None:
        super().__init__(mixer_of(config))

    def reset_parameters(self) -> None:
        """See the class; projections as torch's linear layers."""
        for role, parameter in self.named_parameters(recurse=False):
            if role == "offset":
                # Of exp the offset is an exponent twice over: there it stays near the middle.
                low, high = (0.0, 1.0) if self.mixer.norm_function == "exp" else (4.0, 9.0)  # type: ignore[attr-defined]
                parameter.data.copy_(torch.linspace(low, high, len(parameter)))
            else:
                parameter.data.copy_(projection(tuple(parameter.shape)))
