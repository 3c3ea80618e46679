"""Softmax attention as a module: `spectrakit.mixers.convolved_attention`, trained by SDPA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch.nn import functional

from spectrakit.errors import UsageError
from spectrakit.mixers.convolved_attention import ConvolvedAttention, Rotary
from spectrakit.training.models.initial import projection
from spectrakit.training.models.layers.sizes import head_width
from spectrakit.training.models.mixer_module import MixerModule
from spectrakit.training.models.options import MixerOptions, Size

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.training.models.config import SpectrakitConfig


class SoftmaxOptions(MixerOptions):
    """Options of softmax attention."""

    heads: Size = Field(4, description="Heads, which divide the width.")
    groups: Size | None = Field(
        None, description="Heads of keys and values, which divide `heads`; as many if left out."
    )


class SoftmaxModule(MixerModule):
    """Causal softmax attention, with rotary embeddings or ALiBi as the config's `positions` say."""

    mixer: ConvolvedAttention

    def __init__(self, config: SpectrakitConfig) -> None:
        options = SoftmaxOptions(**(config.mixer_options or {}))
        width = head_width(config.hidden_size, options.heads)
        groups = options.groups or options.heads
        if options.heads % groups:
            message = f"{groups} groups do not divide {options.heads} heads"
            raise UsageError(message, hint=f"groups = {options.heads}, or 1")
        if config.positions == "rope" and width % 2:
            message = f"rotary embeddings turn pairs of channels, and heads are {width} wide"
            raise UsageError(message, hint='an even width of heads, or positions = "absolute"')
        super().__init__(
            ConvolvedAttention(
                heads=options.heads,
                model_width=config.hidden_size,
                groups=groups,
                head_width=width,
                rotary=Rotary(width) if config.positions == "rope" else None,
                alibi=config.positions == "alibi",
                projection_bias=False,
                output_bias=False,
            )
        )

    def reset_parameters(self) -> None:
        """Projections as torch's linear layers."""
        for parameter in self.parameters(recurse=False):
            parameter.data.copy_(projection(tuple(parameter.shape)))

    def forward(self, hidden: Tensor) -> Tensor:
        """See `MixerModule.forward`."""
        p, mixer = self.roles(), self.mixer
        query, key, value = (x.transpose(1, 2) for x in mixer.queries_keys_values(hidden, p))
        tokens = hidden.shape[1]
        bias = mixer.distances(hidden).rows(0, tokens).to(query.dtype) if mixer.alibi else None
        y = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=bias,
            is_causal=not mixer.alibi,
            enable_gqa=mixer.groups != mixer.heads,
        )
        return functional.linear(y.transpose(1, 2).flatten(-2), p["output_projection"])
