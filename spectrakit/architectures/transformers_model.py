"""A model of the transformers library in memory, with its scan functions watched.

Every recurrent mixer of transformers (5.16 and later) calls a scan function that is a global of its
modelling file, and everything the recurrence needs (step, keys, queries) arrives there as
arguments. Replacing that global for the length of a forward pass shows exactly what the model used.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.architectures.base import Layer, check_layer_count, check_parameters, positive
from spectrakit.errors import AnalysisError, MalformedError, UnsupportedError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from spectrakit.architectures.base import LayerSeen, RunnableModel
    from spectrakit.checkpoints import Checkpoint
    from spectrakit.mixers import Mixer, Observation
else:
    torch = lazy_import("torch")

#: The arguments of a scan call by name -> what the layer did.
ScanReader: TypeAlias = "Callable[[Mixer, Mapping[str, Any]], Observation]"


@dataclass(frozen=True)
class Scan:
    """A scan function of a modelling file, and how to read a recurrence from its arguments."""

    name: str
    read: ScanReader


@dataclass
class _Watch:
    """Which layer is running, and which have been seen, during one forward pass."""

    on_layer: LayerSeen
    current: Layer | None = None
    seen: set[int] = field(default_factory=set)

    def enter(self, layer: Layer) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self.current = layer

        return hook

    def leave(self, *_: object) -> None:
        self.current = None


class TransformersModel:
    """A causal language model of transformers whose `layers` are watched through `scan`."""

    def __init__(self, model: nn.Module, layers: tuple[Layer, ...], scan: Scan) -> None:
        self.model = model
        self.layers = layers
        self.scan = scan

    @property
    def vocabulary_size(self) -> int:
        """Rows of the input embedding."""
        embedding = self.model.get_input_embeddings()  # type: ignore[operator]
        return int(embedding.weight.shape[0])

    def run(self, tokens: Tensor, on_layer: LayerSeen | None = None) -> None:
        """One forward pass over token ids (B, T); the language head is not computed.

        Raises AnalysisError where a watched layer recorded nothing.
        """
        device = next(self.model.parameters()).device
        body = self.model.base_model
        with torch.no_grad(), ExitStack() as stack:
            stack.enter_context(quiet_transformers())
            watch = None if on_layer is None else stack.enter_context(self._watched(on_layer))
            body(input_ids=tokens.to(device), use_cache=False)  # type: ignore[operator]
        if watch is not None:
            missed = [layer.index for layer in self.layers if layer.index not in watch.seen]
            if missed:
                message = (
                    f"the forward pass of layers {missed} never called {self.scan.name}, "
                    "so their recurrence was not seen"
                )
                raise AnalysisError(message, hint="report this with the transformers version")

    @contextmanager
    def _watched(self, on_layer: LayerSeen) -> Iterator[_Watch]:
        watch = _Watch(on_layer)
        with ExitStack() as stack:
            for layer in self.layers:
                mixer = self.model.get_submodule(layer.path)
                handles = (
                    mixer.register_forward_pre_hook(watch.enter(layer)),
                    mixer.register_forward_hook(watch.leave, always_call=True),
                )
                for handle in handles:
                    stack.callback(handle.remove)
            modules = {
                type(self.model.get_submodule(layer.path)).__module__ for layer in self.layers
            }
            for module in modules:
                stack.enter_context(self._intercepted(module, watch))
            yield watch

    @contextmanager
    def _intercepted(self, module_name: str, watch: _Watch) -> Iterator[None]:
        module = sys.modules[module_name]
        scan = getattr(module, self.scan.name, None)
        if scan is None:
            import transformers

            message = (
                f"transformers {transformers.__version__} has no {self.scan.name} in {module_name}"
            )
            raise UnsupportedError(message, hint="pip install 'transformers>=5.16,<6'")
        signature = inspect.signature(scan)

        def watched_scan(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            layer = watch.current
            if layer is not None and layer.mixer is not None:
                call = signature.bind(*args, **kwargs)
                call.apply_defaults()
                watch.seen.add(layer.index)
                watch.on_layer(layer, self.scan.read(layer.mixer, call.arguments))
            return scan(*args, **kwargs)

        setattr(module, self.scan.name, watched_scan)
        try:
            yield
        finally:
            setattr(module, self.scan.name, scan)


def load_transformers_model(
    checkpoint: Checkpoint, config: Mapping[str, Any], device: str, rename: Mapping[str, str]
) -> nn.Module:
    """The causal language model that `config` (with its `model_type`) and the weights make.

    The weights come through spectrakit's own readers, so nothing of transformers touches the
    files; `rename` maps tensor names of the file to the model's. Always float32: recurrences lose
    their memory in half precision.

    Raises MalformedError where names or shapes do not fit the model, UnsupportedError where the
    weights are quantised.
    """
    if "quantization_config" in config:
        message = f"{checkpoint.model_id} is quantised; its forward pass cannot be run here"
        raise UnsupportedError(message, hint="analyse the checkpoint before quantisation")
    with quiet_transformers():
        from huggingface_hub.errors import StrictDataclassError
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

        keys = {key: value for key, value in config.items() if key not in _NOT_FOR_MODELS}
        try:
            model_config = AutoConfig.for_model(**keys)
        except (TypeError, ValueError, AttributeError, StrictDataclassError) as error:
            message = f"transformers does not accept the config of {checkpoint.model_id}: {error}"
            raise MalformedError(
                message, hint=f"spectrakit inspect {checkpoint.model_id}"
            ) from error
        local = checkpoint.localize()
        weights = local.read(local.tensors)
        state = {rename.get(name, name): tensor for name, tensor in weights.items()}
        model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(model_config)]
        model, report = model_class.from_pretrained(
            None,
            config=model_config,
            state_dict=state,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _check_loading(checkpoint, report)
    loaded: nn.Module = model.eval().requires_grad_(False).to(device)
    return loaded


#: Keys of a config.json that would name code or storage rather than sizes.
_NOT_FOR_MODELS = frozenset(
    {"auto_map", "dtype", "torch_dtype", "_name_or_path", "transformers_version"}
)


def _check_loading(checkpoint: Checkpoint, report: Mapping[str, Any]) -> None:
    for problem, says in (
        ("missing_keys", "the weights lack"),
        ("mismatched_keys", "the weights have another shape of"),
        ("unexpected_keys", "the model has no place for"),
    ):
        if report[problem]:
            names = sorted(
                str(key[0] if isinstance(key, tuple) else key) for key in report[problem]
            )
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            message = f"{checkpoint.model_id}: {says} {shown}"
            raise MalformedError(message, hint="is this config.json the one of these weights?")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and advice off the terminal."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


class TransformersArchitecture:
    """A `model_type` of transformers whose every layer holds the same mixer.

    A family says its names and sizes; claiming, listing, loading and watching are shared.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    #: The config class's own number of layers, for configs that leave it out.
    default_layers: ClassVar[int]
    #: Tensor name inside a mixer, by role.
    parameter_names: ClassVar[Mapping[str, str]]
    #: The scan function whose arguments are the recurrence.
    scan: ClassVar[Scan]

    def mixer(self, checkpoint: Checkpoint) -> Mixer:
        """The mixer of every layer, from the config."""
        raise NotImplementedError

    def claims(self, checkpoint: Checkpoint) -> bool:
        """By `model_type`."""
        return checkpoint.config.get("model_type") in self.model_types

    def layers(self, checkpoint: Checkpoint) -> tuple[Layer, ...]:
        """One mixer per layer. Raises MalformedError where config and weights disagree."""
        count = positive(checkpoint, "num_hidden_layers", self.default_layers)
        check_layer_count(checkpoint, LAYERS, count, "num_hidden_layers")
        mixer = self.mixer(checkpoint)
        layers = tuple(mixer_layer(index, mixer, self.parameter_names) for index in range(count))
        for layer in layers:
            check_parameters(checkpoint, layer)
        return layers

    def load(self, checkpoint: Checkpoint, device: str) -> RunnableModel:
        """The transformers model, watched at its scan function."""
        model = load_transformers_model(checkpoint, checkpoint.config, device, rename={})
        return TransformersModel(model, self.layers(checkpoint), self.scan)


LAYERS = "backbone.layers."


def mixer_layer(index: int, mixer: Mixer, names: Mapping[str, str]) -> Layer:
    """Layer `index`, whose parameters are called `names` inside the mixer module."""
    path = f"{LAYERS}{index}.mixer"
    return Layer(
        index, path, mixer.name, mixer, {role: f"{path}.{name}" for role, name in names.items()}
    )
