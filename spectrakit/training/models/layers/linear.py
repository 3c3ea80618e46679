"""Linear attention as a module: `spectrakit.mixers.linear_attention`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from spectrakit.mixers import LinearAttention
from spectrakit.training.models.initial import projection
from spectrakit.training.models.layers.sizes import head_width
from spectrakit.training.models.mixer_module import MixerModule
from spectrakit.training.models.options import MixerOptions, Size

if TYPE_CHECKING:
    from spectrakit.training.models.config import SpectrakitConfig


class LinearOptions(MixerOptions):
    """Options of linear attention."""

    heads: Size = Field(4, description="Heads, which divide the width.")
    key_width: Size | None = Field(
        None, description="Width of a head's queries and keys; that of its values where left out."
    )
    feature_map: Literal["elu", "relu", "softmax"] = Field(
        "elu", description="What makes keys and queries positive; elu is elu(x) + 1."
    )


class LinearModule(MixerModule):
    """Linear attention with a normaliser: Katharopoulos et al. 2020 (arXiv 2006.16236)."""

    def __init__(self, config: SpectrakitConfig) -> None:
        options = LinearOptions(**(config.mixer_options or {}))
        width = head_width(config.hidden_size, options.heads)
        super().__init__(
            LinearAttention(
                config.hidden_size,
                options.heads,
                options.key_width or width,
                width,
                options.feature_map,
            )
        )

    def reset_parameters(self) -> None:
        """Projections as torch's linear layers."""
        for parameter in self.parameters(recurse=False):
            parameter.data.copy_(projection(tuple(parameter.shape)))
