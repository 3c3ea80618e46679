"""Softmax attention as a module: `spectrakit.mixers.convolved_attention`, trained by SDPA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from spectrakit.training.models.initial import projection
from spectrakit.training.models.kinds.softmax import mixer_of
from spectrakit.training.models.mixer_module import MixerModule

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.mixers.convolved_attention import ConvolvedAttention
    from spectrakit.training.models.config import SpectrakitConfig


class SoftmaxModule(MixerModule):
    """Causal softmax attention, with rotary embeddings or ALiBi as the config's `positions` say."""

    mixer: ConvolvedAttention

    def __init__(self, config: SpectrakitConfig) -> None:
        super().__init__(mixer_of(config))

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
