"""Encoder-decoders of transformers: the self-attention of their decoders is listed, not read.

It is softmax attention over the decoder's own tokens, causal, and would have a recurrence; but what
a decoder attends to depends on what its encoder is given too, and nothing here has two texts. What
lies in the encoder attends in both directions, and what reads the encoder from the decoder has no
order along the sequence: neither is listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.config_keys import words
from spectrakit.architectures.transformers_family import (
    Block,
    TransformersArchitecture,
    UnreadPart,
)
from spectrakit.errors import UnsupportedError
from spectrakit.mixers import SoftmaxAttention

if TYPE_CHECKING:
    from spectrakit.architectures.base import Configured, RunnableModel
    from spectrakit.checkpoints import TensorSource


@dataclass(frozen=True)
class _Family:
    """blocks: prefix of the decoder's. attention: inside a block. count: the keys that may say how
    many blocks there are, the first of them that is there.
    """

    blocks: str
    attention: str
    count: tuple[str, ...]


_LIKE_BART = _Family("model.decoder.layers.", "self_attn", ("decoder_layers", "num_hidden_layers"))
_LIKE_T5 = _Family("decoder.block.", "layer.0.SelfAttention", ("num_decoder_layers", "num_layers"))
_FAMILIES = {
    **dict.fromkeys(("bart", "marian", "mbart", "m2m_100", "pegasus", "whisper"), _LIKE_BART),
    **dict.fromkeys(("t5", "mt5", "umt5"), _LIKE_T5),
}

_REASON = "of a decoder that reads an encoder: nothing here runs the two together"


class TransformersEncoderDecoder(TransformersArchitecture):
    """BART, Marian, mBART, M2M-100, Pegasus, T5 and Whisper: their layers are listed, not read."""

    name: ClassVar[str] = "transformers-encoder-decoder"
    model_types: ClassVar[tuple[str, ...]] = tuple(_FAMILIES)
    reads: ClassVar[frozenset[str]] = words("decoder_layers num_decoder_layers num_layers")

    def prefixes(self, config: Configured) -> tuple[str, tuple[str, ...]]:
        """As the family has them; files of the bare model lack `model.`."""
        blocks = _family(config).blocks
        return blocks, tuple(dict.fromkeys((blocks, blocks.removeprefix("model."))))

    def count_key(self, config: Configured) -> str:
        """As the family calls it."""
        keys = _family(config).count
        return next((key for key in keys if config.config.get(key) is not None), keys[0])

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:  # noqa: ARG002
        """Raises UnsupportedError."""
        raise _not_run(checkpoint)

    def adopt(self, checkpoint: TensorSource) -> RunnableModel:
        """Raises UnsupportedError."""
        raise _not_run(checkpoint)

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One self-attention each."""
        part = UnreadPart(_family(config).attention, SoftmaxAttention.name, _REASON)
        return [(part,)] * self.count(config)


def _family(config: Configured) -> _Family:
    return _FAMILIES[config.config["model_type"]]


def _not_run(checkpoint: TensorSource) -> UnsupportedError:
    message = (
        f"{checkpoint.model_id} is an encoder-decoder: its decoder attends to what its encoder is "
        "given, and nothing here runs the two together"
    )
    hint = "a plugin can run it with both texts: spectrakit plugins new my-encoder-decoder"
    return UnsupportedError(message, hint=hint)
