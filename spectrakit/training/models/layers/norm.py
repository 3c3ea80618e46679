"""Norm attention as a module: `spectrakit.mixers.norm_attention`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field

from spectrakit.mixers import NormAttention
from spectrakit.training.models.initial import projection
from spectrakit.training.models.layers.sizes import head_width
from spectrakit.training.models.mixer_module import MixerModule
from spectrakit.training.models.options import MixerOptions, Size

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class NormOptions(MixerOptions):
    """Options of norm attention."""

    heads: Size = Field(4, description="Heads, which divide the width.")
    key_width: Size | None = Field(
        None, description="Width of a head's queries and keys; that of its values where left out."
    )
    norm_function: Literal["exp", "elu", "softplus", "sigmoid"] = Field(
        "softplus", description="f of the normaliser exp(f(W x + offset))."
    )


class NormModule(MixerModule):
    """Norm attention; offsets start evenly from 4 to 9 over the heads, as in arXiv 2510.09379."""

    recurrence_roles: ClassVar[frozenset[str]] = frozenset({"offset"})

    def __init__(self, config: SpectrakitConfig) -> None:
        options = NormOptions(**(config.mixer_options or {}))
        width = head_width(config.hidden_size, options.heads)
        super().__init__(
            NormAttention(
                config.hidden_size,
                options.heads,
                options.key_width or width,
                width,
                options.norm_function,
            )
        )

    def reset_parameters(self) -> None:
        """See the class; projections as torch's linear layers."""
        for role, parameter in self.named_parameters(recurse=False):
            if role == "offset":
                # Of exp the offset is an exponent twice over: there it stays near the middle.
                low, high = (0.0, 1.0) if self.mixer.norm_function == "exp" else (4.0, 9.0)  # type: ignore[attr-defined]
                parameter.data.copy_(torch.linspace(low, high, len(parameter)))
            else:
                parameter.data.copy_(projection(tuple(parameter.shape)))
