"""What families of transformers checkpoints share: numbered blocks, each with sequence layers.

A family says which sequence layers a block has and how they are seen; claiming, listing, checking,
loading and watching are here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from spectrakit.architectures.base import (
    Configured,
    Layer,
    check_layer_count,
    check_parameters,
    config_value,
    positive,
)
from spectrakit.architectures.config_keys import OF_ANY_CONFIG, ConfigKeys, words
from spectrakit.architectures.module_tensors import unwrapped
from spectrakit.architectures.quantisation import check_runnable
from spectrakit.architectures.transformers_config_keys import keys_of
from spectrakit.architectures.transformers_model import TransformersModel, load_transformers_model
from spectrakit.architectures.undisturbed import undisturbed
from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from torch import nn

    from spectrakit.architectures.base import RunnableModel
    from spectrakit.architectures.equations import Departure
    from spectrakit.architectures.taps import Tap
    from spectrakit.architectures.transformers_model import Around
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer


@dataclass(frozen=True)
class Part:
    """A sequence layer of a block.

    path: its module inside the block ("mixer"). tap: how it is seen in the running model.
    names: tensor name inside the module, by role of the mixer's parameters. file_path: the module's
    name in files, where they have another one. loaded_names: the tensors' names in the model that
    transformers makes of the files, where they are others. amend: makes transformers' module
    compute what the published model does, where the two differ
    (`spectrakit.architectures.equations`).
    """

    path: str
    mixer: Mixer
    tap: Tap
    names: Mapping[str, str] = field(default_factory=dict)
    file_path: str | None = None
    loaded_names: Mapping[str, str] | None = None
    amend: Callable[[nn.Module], None] | None = None


@dataclass(frozen=True)
class UnreadPart:
    """A sequence layer of a block that nothing here reads, and why."""

    path: str
    kind: str
    reason: str


#: The sequence layers of one block, in the order they run; empty for a block that has none.
Block: TypeAlias = Sequence[Part | UnreadPart]


@dataclass(frozen=True)
class PartConfig:
    """The config of the language model inside a larger one (`text_config`)."""

    model_id: str
    config: Mapping[str, Any]


#: Whether the head is the embedding, and what it is called in files where it is not.
_TIED, _HEAD = "tie_word_embeddings", "lm_head.weight"

#: Around the `text_config` of a model of text and images.
OF_WRAPPERS = ConfigKeys(
    irrelevant=words(
        """
        _pad_token_id audio_config audio_token_id boi_token_index eoi_token_index
        image_break_token_id image_end_token_id image_grid_pinpoints image_seq_length
        image_start_token_id image_token_id image_token_index mm_tokens_per_image
        multimodal_projector_bias projector_hidden_act spatial_merge_size
        text_config.num_image_tokens video_end_token_id video_start_token_id video_token_id
        vision_config vision_end_token_id vision_feature_layer vision_feature_select_strategy
        vision_start_token_id
        """
    )
)

#: The kind of every block; see `spectrakit.architectures.block_types`.
BLOCK_TYPES = words("layer_types layers_block_type")


class TransformersArchitecture(ABC):
    """A family of `model_type`s of transformers: blocks that are numbered from 0.

    Layers are numbered in the order they run, over all blocks; a block may have none (an MLP) or
    several (attention beside a state space model).
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    #: Path of the numbered blocks in the causal language model of transformers.
    module_prefix: ClassVar[str] = "model.layers."
    #: What the same blocks may be called in a file, the most usual first.
    file_prefixes: ClassVar[tuple[str, ...]] = ("model.layers.", "layers.")
    #: The config class's own number of blocks, for configs that leave it out.
    default_blocks: ClassVar[int | None] = None
    #: Keys of the config that decide its layers; what else transformers' class takes is left to it.
    reads: ClassVar[frozenset[str]] = frozenset()
    #: Keys of published configs that decide nothing that is computed here.
    irrelevant: ClassVar[frozenset[str]] = frozenset()
    #: Keys of published configs at the value at which transformers, which does not look, is right.
    fixed: ClassVar[Mapping[str, object]] = {}
    #: Where transformers and the model's own code differ.
    departures: ClassVar[tuple[Departure, ...]] = ()
    #: Whether attention knows nothing of positions but by rotary embeddings, where it has them.
    rotary_at_most: ClassVar[bool] = False
    #: What a model of the family is run by.
    running: ClassVar[type[TransformersModel]] = TransformersModel

    @abstractmethod
    def blocks(self, config: Configured) -> Sequence[Block]:
        """The sequence layers of every block, from the config."""

    def config(self, checkpoint: TensorSource) -> Configured:
        """The language model's config; that of a wrapper is in its `text_config`."""
        inner = checkpoint.config.get("text_config")
        if not isinstance(inner, Mapping):
            return checkpoint
        if checkpoint.config.get(_TIED) and not any(n.endswith(_HEAD) for n in checkpoint.tensors):
            inner = {**inner, _TIED: True}  # what the part says of itself alone does not hold
        return PartConfig(checkpoint.model_id, inner)

    def prefixes(self, config: Configured) -> tuple[str, tuple[str, ...]]:  # noqa: ARG002
        """`module_prefix` and `file_prefixes` of this config's model."""
        return self.module_prefix, self.file_prefixes

    def block_prefixes(self, checkpoint: TensorSource) -> tuple[str, ...]:
        """How the names of its blocks' tensors may begin in a file, before the block's number."""
        return self.prefixes(self.config(checkpoint))[1]

    def count_key(self, config: Configured) -> str:  # noqa: ARG002
        """The key of the config that says how many blocks there are."""
        return "num_hidden_layers"

    def count(self, config: Configured) -> int:
        """The number of blocks."""
        return positive(config, self.count_key(config), self.default_blocks)

    def rename(self, name: str) -> str | None:
        """The causal language model's name of a tensor of the file; None to leave it out.

        Heads that predict further tokens (`mtp`) are no part of it.
        """
        return None if name.startswith("mtp.") else name

    def claims(self, checkpoint: TensorSource) -> bool:
        """By `model_type`."""
        return checkpoint.config.get("model_type") in self.model_types

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:
        """What is read, what transformers reads, and what decides nothing."""
        inner = checkpoint.config.get("text_config")
        types = {checkpoint.config.get("model_type")}
        types |= {model_type for model_type in self.model_types if model_type.endswith("_text")}
        types |= {inner.get("model_type")} if isinstance(inner, Mapping) else set()
        left = frozenset().union(*(keys_of(str(model_type)) for model_type in types))
        reads = self.reads | {"num_hidden_layers", "num_nextn_predict_layers"}
        keys = ConfigKeys(reads, left - self.irrelevant, self.irrelevant, self.fixed)
        if not isinstance(inner, Mapping):
            return keys
        around = ConfigKeys(irrelevant=keys_of(str(checkpoint.config.get("model_type"))))
        return (keys | OF_ANY_CONFIG).inside("text_config") | OF_WRAPPERS | around

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every sequence layer. Raises MalformedError where config and weights disagree."""
        return tuple(layer for layer, _ in self._parts(checkpoint))

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The transformers model, each of its layers seen through its part's tap."""
        config = self.config(checkpoint)
        parts = self._parts(checkpoint)
        model = load_transformers_model(checkpoint, config.config, device, dtype, self.rename)
        self.settle(model, parts)
        return self._watched(model, parts, config)

    def adopt(self, checkpoint: TensorSource) -> RunnableModel:
        """A model of transformers that is in memory, which every pass leaves as it was.

        Raises UnsupportedError where its weights are quantised.
        """
        check_runnable(checkpoint)
        model = checkpoint.module
        assert model is not None  # noqa: S101  (it is what there is to adopt)
        parts = self._parts(checkpoint)
        around = partial(undisturbed, model, partial(self.settle, model, parts))
        body = model_around(model, parts[0][0].path)
        return self._watched(model, parts, self.config(checkpoint), body, around)

    def settle(self, model: nn.Module, parts: Sequence[tuple[Layer, Part | UnreadPart]]) -> None:
        """Have `model` compute what the published one does, by changing attributes alone."""
        for layer, part in parts:
            if isinstance(part, Part) and part.amend is not None:
                part.amend(model.get_submodule(layer.path))

    def _watched(
        self,
        model: nn.Module,
        parts: Sequence[tuple[Layer, Part | UnreadPart]],
        config: Configured,
        body: nn.Module | None = None,
        around: Around = nullcontext,
    ) -> RunnableModel:
        layers = [layer for layer, _ in parts]
        taps = {layer.index: part.tap for layer, part in parts if isinstance(part, Part)}
        blind = self.rotary_at_most
        return self.running(
            model, layers, taps, config, rotary_at_most=blind, body=body, around=around
        )

    def _parts(self, checkpoint: TensorSource) -> list[tuple[Layer, Part | UnreadPart]]:
        config = self.config(checkpoint)
        module_prefix, file_prefixes = self.prefixes(config)
        prefix = _file_prefix(checkpoint, file_prefixes)
        if checkpoint.module is not None:
            module_prefix = prefix
        extra = config_value(config, "num_nextn_predict_layers", int, 0)
        check_layer_count(checkpoint, prefix, self.count(config), self.count_key(config), extra)
        parts: list[tuple[Layer, Part | UnreadPart]] = []
        for number, block in enumerate(self.blocks(config)):
            for part in block:
                path = f"{module_prefix}{number}.{part.path}"
                layer = _layer(checkpoint, len(parts), path, f"{prefix}{number}", part)
                check_parameters(checkpoint, layer)
                parts.append((layer, part))
        return parts


def _file_prefix(checkpoint: TensorSource, candidates: Sequence[str]) -> str:
    for prefix in candidates:
        if any(name.startswith(prefix) for name in checkpoint.tensors):
            return prefix
    message = f"the weights of {checkpoint.model_id} have no layers named {candidates[0]}*"
    raise MalformedError(message, hint=f"spectrakit inspect {checkpoint.model_id}")


def _layer(
    checkpoint: TensorSource, index: int, path: str, block_in_file: str, part: Part | UnreadPart
) -> Layer:
    if isinstance(part, UnreadPart):
        return Layer(index, path, part.kind, reason=part.reason)
    inside, names = f"{block_in_file}.{part.file_path or part.path}", part.names
    loaded = f"{block_in_file}.{part.path}"
    if (
        part.loaded_names
        and f"{loaded}.{next(iter(part.loaded_names.values()))}" in checkpoint.tensors
    ):
        inside, names = loaded, part.loaded_names
    parameters = {role: f"{inside}.{name}" for role, name in names.items()}
    elsewhere = None if inside == path else inside
    return Layer(index, path, part.mixer.name, part.mixer, parameters, file_path=elsewhere)


def model_around(model: nn.Module, layer_path: str) -> nn.Module:
    """The innermost model of transformers in `model` that holds the layer: without any head."""
    from transformers import PreTrainedModel

    path = layer_path
    while path:
        path = path.rpartition(".")[0]
        found = unwrapped(model.get_submodule(path))
        if isinstance(found, PreTrainedModel):
            return found
    return model
