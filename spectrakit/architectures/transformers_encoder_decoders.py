"""Encoder-decoders of transformers: the self-attention of their decoders.

It is softmax attention over the decoder's own tokens, causal, with a recurrence. What a decoder
attends to depends on what its encoder is given, too: here that is the same text, as where a model
is trained to give it back, and that is said. What lies in the encoder attends in both directions,
and what reads the encoder from the decoder has no order along the sequence: neither is listed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit.architectures.attention import SOFTMAX, attention_part
from spectrakit.architectures.base import positive
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.transformers_family import (
    Block,
    TransformersArchitecture,
    UnreadPart,
)
from spectrakit.architectures.transformers_model import TransformersModel, load_transformers_model
from spectrakit.errors import UnsupportedError
from spectrakit.mixers import SoftmaxAttention
from spectrakit.wording import given

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures.base import Configured, RunnableModel
    from spectrakit.checkpoints import TensorSource

logger = logging.getLogger("spectrakit")


@dataclass(frozen=True)
class _Family:
    """blocks: prefix of the decoder's. attention: inside a block. count, heads: the keys that may
    say how many blocks and heads there are, the first of them that is there. texts: whether the
    encoder takes token ids.
    """

    blocks: str
    attention: str
    count: tuple[str, ...]
    heads: tuple[str, ...]
    texts: bool = True


_LIKE_BART = _Family(
    "model.decoder.layers.",
    "self_attn",
    ("decoder_layers", "num_hidden_layers"),
    ("decoder_attention_heads", "num_attention_heads"),
)
_WHISPER = _Family(
    _LIKE_BART.blocks, _LIKE_BART.attention, _LIKE_BART.count, _LIKE_BART.heads, texts=False
)
_LIKE_T5 = _Family(
    "decoder.block.",
    "layer.0.SelfAttention",
    ("num_decoder_layers", "num_layers"),
    ("num_heads",),
)
_FAMILIES = {
    **dict.fromkeys(("bart", "marian", "mbart", "m2m_100", "pegasus"), _LIKE_BART),
    **dict.fromkeys(("t5", "mt5", "umt5"), _LIKE_T5),
    "whisper": _WHISPER,
}

_SOUND = "of a decoder that reads an encoder of sound, which no text is given to"


class EncoderDecoderModel(TransformersModel):
    """A model whose encoder and decoder are given the same tokens."""

    def logits(self, tokens: Tensor, places: Tensor) -> Tensor | None:  # noqa: ARG002
        """None: with the whole text before it, its decoder predicts nothing."""
        return None

    def _body(self, tokens: Tensor, mask: Tensor | None) -> Any:  # noqa: ANN401
        body: Any = self.body
        return body(
            input_ids=tokens,
            attention_mask=mask,
            decoder_input_ids=tokens,
            decoder_attention_mask=mask,
            use_cache=False,
        )


class TransformersEncoderDecoder(TransformersArchitecture):
    """Self-attention of the decoders of BART, Marian, mBART, M2M-100, Pegasus and T5.

    That of Whisper, whose encoder takes no text, is listed.
    """

    name: ClassVar[str] = "transformers-encoder-decoder"
    model_types: ClassVar[tuple[str, ...]] = tuple(_FAMILIES)
    reads: ClassVar[frozenset[str]] = words("decoder_layers num_decoder_layers num_layers")
    running: ClassVar[type[TransformersModel]] = EncoderDecoderModel

    def prefixes(self, config: Configured) -> tuple[str, tuple[str, ...]]:
        """As the family has them; files of the bare model lack `model.`."""
        blocks = _family(config).blocks
        return blocks, tuple(dict.fromkeys((blocks, blocks.removeprefix("model."))))

    def count_key(self, config: Configured) -> str:
        """As the family calls it."""
        return _first(config, _family(config).count)

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One self-attention each."""
        family = _family(config)
        if not family.texts:
            part = UnreadPart(family.attention, SoftmaxAttention.name, _SOUND)
            return [(part,)] * self.count(config)
        heads = positive(config, _first(config, family.heads))
        return [(attention_part(family.attention, heads, SOFTMAX),)] * self.count(config)

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The model with both halves. Raises UnsupportedError where the encoder takes no text."""
        from transformers import CONFIG_MAPPING, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

        _check_text(checkpoint)
        config = checkpoint.config
        classes = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        kind = classes[CONFIG_MAPPING[config["model_type"]]]
        model = load_transformers_model(checkpoint, config, device, dtype, self.rename, kind=kind)
        return self._watched(model, self._parts(checkpoint), checkpoint)

    def adopt(self, checkpoint: TensorSource) -> RunnableModel:
        """A model in memory. Raises UnsupportedError where its encoder takes no text."""
        _check_text(checkpoint)
        return super().adopt(checkpoint)


def _family(config: Configured) -> _Family:
    return _FAMILIES[config.config["model_type"]]


def _first(config: Configured, keys: Sequence[str]) -> str:
    return next((key for key in keys if config.config.get(key) is not None), keys[0])


def _check_text(checkpoint: TensorSource) -> None:
    if not _family(checkpoint).texts:
        message = (
            f"the encoder of {checkpoint.model_id} hears sound, and no text can be given to it"
        )
        raise UnsupportedError(message, hint=given(mode="weights"))
    logger.info(
        "%s is an encoder-decoder: its encoder is given the text that its decoder reads",
        checkpoint.model_id,
    )
