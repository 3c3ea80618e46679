"""MiniMax-Text-01 checkpoints in the format of transformers: Lightning and softmax attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.architectures.attention import attention_part
from spectrakit.architectures.base import Configured, positive
from spectrakit.architectures.block_types import block_types, check_length
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.equations import Departure
from spectrakit.architectures.taps import ModuleSource, Seen, Tap, first
from spectrakit.architectures.transformers_family import (
    BLOCK_TYPES,
    Block,
    Part,
    TransformersArchitecture,
)
from spectrakit.mixers import LightningAttention, Observation

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.mixers import Mixer
else:
    torch = lazy_import("torch")


def read_lightning(mixer: Mixer, seen: Seen) -> Observation:
    """From a call of the joint projection; what comes before and after it is the layer's own."""
    assert isinstance(mixer, LightningAttention)  # noqa: S101  (architectures pair them)
    (projection,) = seen.calls
    module: Any = seen.module
    hidden, mask = seen.arguments["hidden_states"], seen.arguments["attention_mask"]
    projected = module.act_fn(projection.output).float()
    if mask is not None:
        projected = projected * mask.unsqueeze(-1)
    query, key, value = projected.unflatten(-1, (mixer.heads, -1)).chunk(3, dim=-1)

    def finish(y: Tensor) -> Tensor:
        normed: Tensor = module.norm(y.flatten(-2).to(hidden.dtype))
        gated = torch.sigmoid(module.output_gate(hidden)) * normed
        output: Tensor = module.out_proj(gated)
        return output

    return Observation(mixer.observed(key, query), value, finish, first(seen.output))


LIGHTNING = Tap(ModuleSource("qkv_proj"), read_lightning)


class TransformersMiniMax(TransformersArchitecture):
    """`model_type` minimax.

    Its files hold the slopes as well, in the dtype of the weights; the formula has more digits.
    """

    name: ClassVar[str] = "transformers-minimax"
    model_types: ClassVar[tuple[str, ...]] = ("minimax",)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        "head_dim hidden_size num_attention_heads"
    )
    departures: ClassVar[tuple[Departure, ...]] = (
        Departure(
            ("minimax",),
            what="the slopes of Lightning attention",
            own="flattened by 1 - l / (L - 1) + 1e-5, and ALiBi's where the number of heads is no "
            "power of two (MiniMax's modeling_minimax_text_01.py)",
            port="transformers 5.23: by 1 - l / (L - 1 + 1e-5) + 1e-5, and 2^(-8 (h + 1) / H)",
            follows="transformers",
            why="files in its format hold its slopes; of MiniMax-Text-01's (64 heads, 80 layers, "
            "the last of softmax) none differs by more than 1e-5 of itself",
        ),
    )
    default_blocks: ClassVar[int | None] = 32

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Either attention. Raises MalformedError where `layer_types` is of another length."""
        count = self.count(config)
        heads = positive(config, "num_attention_heads", 32)
        width = positive(config, "head_dim", positive(config, "hidden_size", 4096) // heads)
        usual = [("full_attention", "linear_attention")[number % 2] for number in range(count)]
        types = block_types(config, ("full_attention", "linear_attention")) or usual
        check_length(config, types, count)
        softmax = attention_part("self_attn", heads)
        return [
            (softmax,)
            if kind == "full_attention"
            else (Part("self_attn", LightningAttention(heads, width, width, n, count), LIGHTNING),)
            for n, kind in enumerate(types)
        ]
