"""What an architecture offers: it claims a checkpoint, lists its layers, and can run it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from spectrakit.architectures.quantisation import quantisation
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.wording import given

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.checkpoints import TensorEntry, TensorSource
    from spectrakit.mixers import Mixer, Observation

#: Types of a config's values, in words.
_NAMES = {float: "a number", int: "an integer", bool: "true or false", str: "a string",
          list: "a list", dict: "an object"}  # fmt: skip
_FLOATING = {"F64", "F32", "F16", "BF16"}
_COMPLEX = {"C64", "C128"}


@dataclass(frozen=True)
class Layer:
    """A layer of a checkpoint that moves information along the sequence.

    index: its place among the model's sequence layers, in the order they run. path: its module.
    kind: the mixer's name, or what the layer is where no mixer can read it ("attention").
    mixer: how to read it; None where nothing here can, and then `reason` says why.
    parameters: the checkpoint's tensor name of each of the mixer's roles. reason: why it cannot be
    read, or what of it is not. file_path: its module's name in the files, where that is another.
    runs: whether data mode can show it.
    """

    index: int
    path: str
    kind: str
    mixer: Mixer | None = None
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    reason: str | None = None
    file_path: str | None = None
    runs: bool = True

    @property
    def heads(self) -> int | None:
        """Number of heads; None for a layer of channels that do not interact."""
        return self._count("head")

    @property
    def channels(self) -> int | None:
        """Number of channels, each a recurrence of its own; None for a layer of heads."""
        return self._count("channel")

    @property
    def state_size(self) -> int | None:
        """N, the size of the index the transition acts on."""
        return None if self.mixer is None else self.mixer.state_size

    @property
    def in_weights(self) -> bool:
        """Whether weights mode has its spectrum."""
        return self.mixer is not None and self.mixer.weights_mode is not None

    @property
    def weights_tensors(self) -> tuple[str, ...]:
        """Names of the tensors that weights mode reads; none where the config says A already."""
        if self.mixer is None or self.mixer.weights_mode is None:
            return ()
        return tuple(self.parameters[role] for role in self.mixer.weights_roles)

    def tensors(self, names: Iterable[str]) -> set[str]:
        """Those of the checkpoint's tensor `names` that are this layer's."""
        module = f"{self.file_path or self.path}."
        # Files of a bare model leave the first word of every name out.
        bare = module.partition(".")[2]
        own = {name for name in names if name.startswith((module, bare))}
        return own | set(self.parameters.values()).intersection(names)

    def _count(self, axis: str) -> int | None:
        if self.mixer is None or self.mixer.head_axis != axis:
            return None
        return self.mixer.heads


#: Called with each layer as the forward pass reaches it; nothing is kept afterwards.
LayerSeen: TypeAlias = "Callable[[Layer, Observation], None]"
#: Called with the residual stream (B, T, E) at each depth: 0 where it enters the first block, l
#: where it leaves the l-th. What it returns takes the stream's place; None leaves it as it is.
StatesSeen: TypeAlias = "Callable[[int, Tensor], Tensor | None]"
#: Called with each layer whose mixer is about to run and what the mixer is handed, (B, T, E), which
#: the block's norm has gone over. What it returns takes its place; None leaves it as it is.
MixerInput: TypeAlias = "Callable[[Layer, Tensor], Tensor | None]"
#: Called with what the mixer made of that, (B, T, its width).
MixerOutput: TypeAlias = "Callable[[Layer, Tensor], None]"


class RunnableModel(Protocol):
    """A model in memory whose mixers can be watched."""

    @property
    def vocabulary_size(self) -> int:
        """Token ids lie below it."""

    def run(
        self,
        tokens: Tensor,
        on_layer: LayerSeen | None = None,
        valid: Tensor | None = None,
        on_states: StatesSeen | None = None,
    ) -> None:
        """One forward pass over token ids (B, T), from an empty state.

        valid: (B, T) of bool, False on padding that no token may attend to; None where there is
        none, or where it comes after the text and so changes nothing before it. on_states: sees the
        residual stream, from depth 0 to the number of blocks.

        Raises AnalysisError where a layer that was to be watched recorded nothing, UsageError where
        the sequences are longer than the model can take.
        """


class LanguageModel(RunnableModel, Protocol):
    """A runnable model that can be asked what comes next; none need have these members."""

    @property
    def most_tokens(self) -> int | None:
        """The most tokens of a sequence; None where nothing limits them."""

    def logits(self, tokens: Tensor, places: Tensor) -> Tensor | None:
        """Scores of the tokens that may come next: None without a language head.

        tokens: (B, T) of ids. places: (B, K), of the tokens whose successors are asked for. Scores
        are (B, K, V), up to what keeps their order (a temperature, a soft cap).

        Raises UsageError where the sequences are longer than the model can take.
        """


class DrivenModel(RunnableModel, Protocol):
    """A runnable model whose mixers can be driven alone; none need have this member."""

    def run_mixers(self, tokens: Tensor, on_input: MixerInput, on_output: MixerOutput) -> None:
        """One forward pass over token ids (B, T) that shows the mixer of every readable layer.

        A mixer is what a layer moves information with, without the block's norm and residual.

        Raises UsageError where the sequences are longer than the model can take.
        """


class Architecture(Protocol):
    """A family of checkpoints; see `spectrakit.architectures.transformers_mamba` for whole ones."""

    #: Unique name among all plugins: "transformers-mamba".
    name: ClassVar[str]

    def claims(self, checkpoint: TensorSource) -> bool:
        """Whether this is a checkpoint of the family, from its config and tensor names alone."""

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every sequence layer, those that cannot be read included.

        Raises MalformedError where the config and the weights disagree.
        """

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The model on `device`, its weights in `dtype`, ready to run.

        Raises UnsupportedError where the family, or this member of it, cannot be run here.
        """


class Adopting(Architecture, Protocol):
    """An architecture that runs models in memory as they are; none need have this member."""

    def adopt(self, checkpoint: TensorSource) -> RunnableModel:
        """`checkpoint.module`, a model of transformers, ready to run where it is.

        Paths of layers are those of its modules. It has to be as it was after every pass, for which
        there is `spectrakit.architectures.undisturbed`, and its weights are never written into.

        Raises UnsupportedError where the family, or this member of it, cannot be run so.
        """


class Wrapped(Architecture, Protocol):
    """An architecture whose blocks may stand under further names; none need have this member."""

    def block_prefixes(self, checkpoint: TensorSource) -> tuple[str, ...]:
        """How the names of its blocks' tensors begin in a file, before the block's number.

        What stands before them in a file is taken off before `layers` is asked.
        """


class Renaming(Architecture, Protocol):
    """An architecture whose files may have other names than its own; none need have this member."""

    def own_names(self, checkpoint: TensorSource) -> Mapping[str, str] | None:
        """The checkpoint's tensor names, by those that `layers` and `load` know; None as they are.

        Those that are left out are no tensors of the model.
        """


class Configured(Protocol):
    """What has a config: a checkpoint, or the part of it that is about the language model."""

    @property
    def model_id(self) -> str:
        """Whose config it is, for messages."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The keys and values."""


def numbered_layers(checkpoint: TensorSource, prefix: str) -> int:
    """How many layers `prefix`N. the weights hold, N counting from 0."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    found = {int(match[1]) for name in checkpoint.tensors if (match := pattern.match(name))}
    return max(found, default=-1) + 1


#: Lists that say the kind of every block, and so how many there are.
_BY_BLOCK = ("layers_block_type", "layer_types", "hybrid_override_pattern")


def check_layer_count(
    checkpoint: TensorSource, prefix: str, expected: int, key: str, extra: int = 0
) -> None:
    """Raise MalformedError unless the weights hold as many layers as the config says.

    extra: layers that may follow them and are not part of the model (multi-token prediction).
    """
    found = numbered_layers(checkpoint, prefix)
    if found not in (expected, expected + extra):
        config = checkpoint.config.get("text_config", {}), checkpoint.config
        keys = (key, *_BY_BLOCK)
        sections = [each for each in config if isinstance(each, Mapping)]
        said = any(section.get(name) is not None for section in sections for name in keys)
        says = f"says {key} = {expected}" if said else f"has no {key}"
        held = f"its weights hold {found} layers ({prefix}*)"
        message = f"the config of {checkpoint.model_id} {says}, {held}"
        inspected = f"spectrakit inspect {checkpoint.model_id}"
        hint = inspected if said or not found else given(config={key: found})
        raise MalformedError(message, hint=hint)


def check_parameters(checkpoint: TensorSource, layer: Layer) -> None:
    """Raise unless the layer's parameters are there, of the shape its config says, and floating.

    Of a quantised checkpoint only those that weights mode reads are checked: the rest is packed,
    under names and in shapes of the quantiser's own. So of tensors that are withheld.

    Raises MalformedError (missing or misshapen) or UnsupportedError (quantised).
    """
    if layer.mixer is None:
        return
    for role, shape in layer.mixer.shapes().items():
        name = layer.parameters[role]
        entry = checkpoint.tensors.get(name)
        held = entry is not None and entry.withheld is not None
        dtypes = _COMPLEX if role in getattr(layer.mixer, "complex_roles", ()) else _FLOATING
        fits = entry is not None and entry.shape == shape and entry.dtype in dtypes
        of_weights = role in layer.mixer.weights_roles
        if (fits and not held) or (not of_weights and (held or quantisation(checkpoint))):
            continue
        if entry is None:
            message = f"layer {layer.index}: {name} ({role}) is not in the weights"
            raise MalformedError(message, hint=f"spectrakit inspect {checkpoint.model_id}")
        _check_entry(entry, layer, role, shape, dtypes)


def check_floating(checkpoint: TensorSource, layer: Layer) -> None:
    """Raise UnsupportedError unless what weights mode reads of `layer` is floating."""
    for name in layer.weights_tensors:
        entry = checkpoint.tensors[name]
        _check_entry(entry, layer, name, entry.shape)


def _check_entry(
    entry: TensorEntry,
    layer: Layer,
    role: str,
    shape: tuple[int, ...],
    dtypes: Collection[str] = _FLOATING,
) -> None:
    if entry.withheld is not None:
        entry.check_readable()
    if entry.dtype not in dtypes:
        wanted = "floats" if dtypes is _FLOATING else "complex numbers"
        message = f"layer {layer.index}: {entry.name} is stored as {entry.dtype}, not as {wanted}"
        raise UnsupportedError(message, hint="analyse the checkpoint before quantisation")
    if entry.shape != shape:
        message = (
            f"layer {layer.index}: {entry.name} has shape {list(entry.shape)}, "
            f"the config makes {role} {list(shape)}"
        )
        raise MalformedError(message, hint="is this config.json the one of these weights?")


def config_value(source: Configured, key: str, kind: type[Any], default: Any = None) -> Any:  # noqa: ANN401
    """`config[key]`, checked to be of `kind`.

    source: a checkpoint, or a part of its config.

    Raises MalformedError where it is missing (and there is no default) or of another type.
    """
    value = source.config.get(key)
    value = default if value is None else value  # null says as little as no key
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        message = (
            f"config.json of {source.model_id}: {key} is {value!r}, "
            f"expected {_NAMES.get(kind, kind.__name__)}"
        )
        raise MalformedError(message)
    return value


def positive(source: Configured, key: str, default: int | None = None) -> int:
    """`config[key]` as a positive integer of sane size.

    Raises MalformedError otherwise.
    """
    value: int = config_value(source, key, int, default)
    if not 0 < value < 1 << 31:
        message = f"config.json of {source.model_id}: {key} = {value} is not a size"
        raise MalformedError(message)
    return value
