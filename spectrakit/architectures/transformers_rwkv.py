"""RWKV-4 checkpoints in the format of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.architectures.base import Configured, positive
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.equations import Departure
from spectrakit.architectures.taps import FunctionSource, Seen, Tap, first
from spectrakit.architectures.transformers_family import (
    Block,
    Part,
    PartConfig,
    TransformersArchitecture,
    UnreadPart,
    model_around,
)
from spectrakit.mixers import RWKV4, Observation

if TYPE_CHECKING:
    import torch
    from torch import nn

    from spectrakit.architectures.base import Layer
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer
else:
    torch = lazy_import("torch")


def read_wkv(mixer: Mixer, seen: Seen) -> Observation:
    """From a call of `rwkv_linear_attention`."""
    assert isinstance(mixer, RWKV4)  # noqa: S101  (architectures pair the scan with its mixer)
    (scan,) = seen.calls
    call = scan.arguments
    p = {"time_decay": call["time_decay"]}
    observation = mixer.observation(call["key"], call["value"], call["time_first"], p)
    return replace(observation, outputs=first(scan.output))


#: Longer than any sequence.
_ANY_LENGTH = 1 << 30

WKV = Tap(FunctionSource("rwkv_linear_attention"), read_wkv)


class TransformersRWKV(TransformersArchitecture):
    """`model_type` rwkv. Its forward pass ignores padding masks."""

    name: ClassVar[str] = "transformers-rwkv"
    model_types: ClassVar[tuple[str, ...]] = ("rwkv",)
    reads: ClassVar[frozenset[str]] = words("attention_hidden_size hidden_size")
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        head_size model_max_length rescale_every
        """
    )
    departures: ClassVar[tuple[Departure, ...]] = (
        Departure(
            ("rwkv",),
            what="the residual stream",
            own="never rescaled in float32 (BlinkDL/RWKV-LM, RWKV-v4)",
            port="transformers 5.23 halves it every `rescale_every` blocks, and the weights that "
            "add to it",
            follows="the published model",
            why="the halving is for half precision; no decay depends on it, norms of states do",
        ),
    )
    module_prefix: ClassVar[str] = "rwkv.blocks."
    file_prefixes: ClassVar[tuple[str, ...]] = ("rwkv.blocks.", "blocks.")
    default_blocks: ClassVar[int | None] = 32

    def config(self, checkpoint: TensorSource) -> Configured:
        """The checkpoint's, without what is no part of the model.

        transformers divides the residual stream by two every `rescale_every` blocks, and the
        weights of what is added to it likewise, for half precision. The length that it was trained
        on binds only the kernel that a GPU may load.
        """
        config = {**checkpoint.config, "rescale_every": 0, "context_length": _ANY_LENGTH}
        config.pop("max_position_embeddings", None)  # another name of the length
        return PartConfig(checkpoint.model_id, config)

    def settle(self, model: nn.Module, parts: Sequence[tuple[Layer, Part | UnreadPart]]) -> None:
        """Undo the halving of a model in memory, with weights of our own for the time of a pass."""
        super().settle(model, parts)
        body: Any = model_around(model, parts[0][0].path)
        period, body.config.rescale_every = body.config.rescale_every, 0
        if not body.layers_are_rescaled or period == 0:
            return
        for number, block in enumerate(body.blocks):
            for projection in (block.attention.output, block.feed_forward.value):
                whole = projection.weight.detach() * 2 ** (number // period)
                projection.weight = torch.nn.Parameter(whole, requires_grad=False)

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One time mixing each."""
        width = positive(config, "hidden_size", 4096)
        mixer = RWKV4(positive(config, "attention_hidden_size", width))
        names = {"time_decay": "time_decay", "bonus": "time_first"}
        part = Part("attention", mixer, WKV, names)
        return [(part,)] * self.count(config)
