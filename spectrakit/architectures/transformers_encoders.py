"""Encoders of transformers: attention in both directions, which has no recurrence to read.

Those of text run nevertheless, and show their hidden states: the bare model, without a pooler or
heads, whatever of them its files hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.config_keys import ConfigKeys, words
from spectrakit.architectures.encoder_model import EncoderModel
from spectrakit.architectures.quantisation import check_runnable
from spectrakit.architectures.transformers_family import (
    Block,
    TransformersArchitecture,
    UnreadPart,
    model_around,
)
from spectrakit.architectures.transformers_model import load_transformers_model
from spectrakit.architectures.undisturbed import undisturbed

if TYPE_CHECKING:
    from spectrakit.architectures.base import Configured, RunnableModel
    from spectrakit.checkpoints import TensorSource

#: Prefix of the numbered blocks, by `model_type`; files of the bare model lack its first word.
_BLOCKS = {
    "bert": "bert.encoder.layer.",
    "roberta": "roberta.encoder.layer.",
    "xlm-roberta": "roberta.encoder.layer.",
    "electra": "electra.encoder.layer.",
    "deberta-v2": "deberta.encoder.layer.",
    "esm": "esm.encoder.layer.",
    "mpnet": "mpnet.encoder.layer.",
    "distilbert": "distilbert.transformer.layer.",
    "modernbert": "model.layers.",
    "vit": "vit.encoder.layer.",
    "deit": "deit.encoder.layer.",
    "dinov2": "dinov2.encoder.layer.",
}

#: Encoders of images, which read no tokens.
_OF_IMAGES = frozenset({"vit", "deit", "dinov2"})

#: What the bare model has no place for, and the names of old files for what it has.
_BUFFERS = ("position_ids", "token_type_ids")
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

_ABSOLUTE = ConfigKeys(fixed={"position_embedding_type": "absolute"})
#: By `model_type`: what transformers computes whatever the config says.
_COMPUTED_ANYWAY = {
    "bert": _ABSOLUTE,
    "roberta": _ABSOLUTE,
    "xlm-roberta": _ABSOLUTE,
    "electra": _ABSOLUTE,
    "mpnet": _ABSOLUTE | ConfigKeys(irrelevant=words("type_vocab_size")),  # it has no types
    "modernbert": _ABSOLUTE | ConfigKeys(fixed={"layer_norm_eps": 1e-5}),  # norm_eps is followed
    "esm": ConfigKeys(fixed={"hidden_act": "gelu"}),
}

_REASON = "bidirectional: every token sees all others, so there is no causal recurrence"


class TransformersEncoder(TransformersArchitecture):
    """Encoders of text and of images; their layers are listed, not read. Those of text run, for
    analyses of hidden states.
    """

    name: ClassVar[str] = "transformers-encoder"
    model_types: ClassVar[tuple[str, ...]] = tuple(_BLOCKS)
    reads: ClassVar[frozenset[str]] = words("is_decoder n_layers")
    #: Of poolers and heads, which are left out, and of classes of their own time.
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        directionality generator_size pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
        pooler_size_per_head pooler_type tie_weights_
        """
    )

    def claims(self, checkpoint: TensorSource) -> bool:
        """By `model_type`, unless it is set up to be a decoder."""
        return super().claims(checkpoint) and not checkpoint.config.get("is_decoder")

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:
        """Besides: what the classes do not look at, at the values they compute."""
        computed = _COMPUTED_ANYWAY.get(checkpoint.config["model_type"], ConfigKeys())
        return super().config_keys(checkpoint) | computed

    def prefixes(self, config: Configured) -> tuple[str, tuple[str, ...]]:
        """As the encoder has them."""
        blocks = _BLOCKS[config.config["model_type"]]
        bare = blocks.partition(".")[2]
        return bare, (blocks, bare)

    def shows_states(self, checkpoint: TensorSource) -> bool:
        """Whether the model can be run on tokens although none of its layers is read."""
        return checkpoint.config["model_type"] not in _OF_IMAGES

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The bare model of transformers."""
        config = self.config(checkpoint).config
        prefix = _BLOCKS[config["model_type"]].partition(".")[0] + "."
        whole = any(name.startswith(prefix) for name in checkpoint.tensors)

        def rename(name: str) -> str | None:
            inside = name.removeprefix(prefix)
            if (whole and inside == name) or inside.endswith(_BUFFERS):
                return None
            if inside.startswith(("pooler.", "cls.", "lm_head.", "head.", "classifier.")):
                return None
            for old, new in _OLD_NAMES.items():
                inside = inside.replace(old, new)
            return inside

        model = load_transformers_model(checkpoint, config, device, dtype, rename, bare=True)
        return EncoderModel(model, self.layers(checkpoint)[0].path)

    def adopt(self, checkpoint: TensorSource) -> RunnableModel:
        """An encoder in memory, which every pass leaves as it was; its heads are not run.

        Raises UnsupportedError where its weights are quantised.
        """
        check_runnable(checkpoint)
        model = checkpoint.module
        assert model is not None  # noqa: S101  (it is what there is to adopt)
        path = self.layers(checkpoint)[0].path
        body = model_around(model, path)
        return EncoderModel(model, path, body=body, around=partial(undisturbed, model))

    def count_key(self, config: Configured) -> str:
        """DistilBERT has its own."""
        return "n_layers" if "n_layers" in config.config else "num_hidden_layers"

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One attention each."""
        path = "attn" if config.config["model_type"] == "modernbert" else "attention"
        return [(UnreadPart(path, "attention", _REASON),)] * self.count(config)
