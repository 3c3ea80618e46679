"""Encoders of transformers: attention in both directions, which has no recurrence to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.config_keys import words
from spectrakit.architectures.transformers_family import (
    Block,
    TransformersArchitecture,
    UnreadPart,
)

if TYPE_CHECKING:
    from spectrakit.architectures.base import Configured
    from spectrakit.checkpoints import Checkpoint

#: Prefix of the numbered blocks, by `model_type`; files of the bare model lack its first word.
_BLOCKS = {
    "bert": "bert.encoder.layer.",
    "roberta": "roberta.encoder.layer.",
    "xlm-roberta": "roberta.encoder.layer.",
    "electra": "electra.encoder.layer.",
    "deberta-v2": "deberta.encoder.layer.",
    "esm": "esm.encoder.layer.",
    "distilbert": "distilbert.transformer.layer.",
    "modernbert": "model.layers.",
    "vit": "vit.encoder.layer.",
    "deit": "deit.encoder.layer.",
    "dinov2": "dinov2.encoder.layer.",
}

_REASON = "bidirectional: every token sees all others, so there is no causal recurrence"


class TransformersEncoder(TransformersArchitecture):
    """Encoders of text and of images; their layers are listed, not read."""

    name: ClassVar[str] = "transformers-encoder"
    model_types: ClassVar[tuple[str, ...]] = tuple(_BLOCKS)
    reads: ClassVar[frozenset[str]] = words("is_decoder n_layers")

    def claims(self, checkpoint: Checkpoint) -> bool:
        """By `model_type`, unless it is set up to be a decoder."""
        return super().claims(checkpoint) and not checkpoint.config.get("is_decoder")

    def prefixes(self, config: Configured) -> tuple[str, tuple[str, ...]]:
        """As the encoder has them."""
        blocks = _BLOCKS[config.config["model_type"]]
        return blocks, (blocks, blocks.partition(".")[2])

    def count_key(self, config: Configured) -> str:
        """DistilBERT has its own."""
        return "n_layers" if "n_layers" in config.config else "num_hidden_layers"

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One attention each."""
        path = "attn" if config.config["model_type"] == "modernbert" else "attention"
        return [(UnreadPart(path, "attention", _REASON),)] * self.count(config)
