"""A model of the transformers library in memory, loaded by our own readers and watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.architectures.driven_mixers import mixers_watched
from spectrakit.architectures.layer_watch import LayerWatch
from spectrakit.architectures.other_heads import settle_heads
from spectrakit.architectures.quantisation import not_runnable, quantisation
from spectrakit.architectures.residual_stream import stream_watched
from spectrakit.architectures.transformers_quantised import load_quantised
from spectrakit.errors import AnalysisError, MalformedError, UnsupportedError, UsageError
from spectrakit.wording import given

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from spectrakit.architectures.base import (
        Configured,
        Layer,
        LayerSeen,
        MixerInput,
        MixerOutput,
        StatesSeen,
    )
    from spectrakit.architectures.taps import Source, Tap
    from spectrakit.checkpoints import TensorSource
else:
    torch = lazy_import("torch")


#: Makes a context for a forward pass.
Around: TypeAlias = Callable[[], AbstractContextManager[None]]


class TransformersModel:
    """A language model of transformers, each of whose `layers` is seen through its tap."""

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[Layer],
        taps: Mapping[int, Tap],
        config: Configured | None = None,
        *,
        rotary_at_most: bool = False,
        body: nn.Module | None = None,
        around: Around = nullcontext,
    ) -> None:
        """`taps` are by layer index; layers without one are not watched.

        config: of the layers, for whoever draws their weights anew. rotary_at_most: whether
        attention knows of positions by rotary embeddings alone, or not at all. body: what is run, a
        module of `model` with all layers and no language head; None for its `base_model`. around: a
        context for every pass.
        """
        self.model = model
        base: nn.Module = model.base_model  # type: ignore[assignment]
        self.body = base if body is None else body
        self.around = around
        self.layers = tuple(layer for layer in layers if layer.index in taps)
        self.taps = taps
        self.config = config
        # A layer whose weights alone have a spectrum is no attention.
        recurrent = all(layer.mixer is not None and layer.mixer.weights_mode for layer in layers)
        blind = rotary_at_most and not any(map(_is_rotary, self.body.modules()))
        self._limited = not (recurrent or blind)

    @property
    def vocabulary_size(self) -> int:
        """Rows of the input embedding."""
        embedding = self.model.get_input_embeddings()  # type: ignore[operator]
        return int(embedding.weight.shape[0])

    @property
    def most_tokens(self) -> int | None:
        """The most tokens of a sequence; None where nothing limits them."""
        return min((positions for _, positions in self._positions()), default=None)

    def run(
        self,
        tokens: Tensor,
        on_layer: LayerSeen | None = None,
        valid: Tensor | None = None,
        on_states: StatesSeen | None = None,
    ) -> None:
        """One forward pass over token ids (B, T); the language head is not computed.

        Raises AnalysisError where a watched layer recorded nothing, UsageError where there are more
        tokens than the model has positions.
        """
        device = next(self.model.parameters()).device
        mask = None if valid is None else valid.to(device).long()
        watch = LayerWatch(on_layer, mask)
        with ExitStack() as stack:
            stack.enter_context(self.around())
            stack.enter_context(self._watched(watch))
            if on_states is not None:
                stack.enter_context(stream_watched(self.model, self.layers[0].path, on_states))
            self._forward(tokens.to(device), mask)
        missed = [layer for layer in self.layers if layer.index not in watch.seen]
        if on_layer is not None and missed:
            awaited = sorted({self.taps[layer.index].source.description for layer in missed})
            indices = [layer.index for layer in missed]
            message = (
                f"the forward pass of layers {indices} made no {' and no '.join(awaited)}, "
                "so their recurrence was not seen"
            )
            raise AnalysisError(message, hint="report this with the transformers version")

    def run_mixers(self, tokens: Tensor, on_input: MixerInput, on_output: MixerOutput) -> None:
        """See `DrivenModel.run_mixers`; the mixers are the modules of the layers.

        Raises UnsupportedError where one takes or gives anything but vectors (B, T, E).
        """
        device = next(self.model.parameters()).device
        with (
            self.around(),
            self._watched(LayerWatch(None, None)),  # for its faster scans; nobody looks
            mixers_watched(self.model, self.layers, on_input, on_output),
        ):
            self._forward(tokens.to(device))

    def logits(self, tokens: Tensor, places: Tensor) -> Tensor | None:
        """See `LanguageModel.logits`; None for a model of a class that has no language head."""
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        if head is None:
            return None
        device = next(self.model.parameters()).device
        with self.around():
            with self._watched(LayerWatch(None, None)):  # for its faster scans; nobody looks
                hidden = self._forward(tokens.to(device)).last_hidden_state
            rows = torch.arange(len(places), device=device)[:, None]
            with torch.no_grad():
                scores: Tensor = head(hidden[rows, places.to(device)])
        return scores

    def _forward(self, tokens: Tensor, mask: Tensor | None = None) -> Any:  # noqa: ANN401
        """The model without its language head; what it returns depends on the family."""
        self._check_positions(tokens.shape[1])
        with torch.no_grad(), quiet_transformers():
            try:
                return self._body(tokens, mask)
            except RuntimeError as error:
                # Too little memory is no fault of the type, and float32 takes more of it.
                if self.model.dtype == torch.float32 or isinstance(error, torch.OutOfMemoryError):
                    raise
                message = f"the forward pass fails in {self.model.dtype}: {error}".splitlines()[0]
                raise UsageError(message, hint=given(dtype="float32")) from error

    def _body(self, tokens: Tensor, mask: Tensor | None) -> Any:  # noqa: ANN401
        body: Any = self.body
        return body(input_ids=tokens, attention_mask=mask, use_cache=False)

    @contextmanager
    def _watched(self, watch: LayerWatch) -> Iterator[None]:
        modules = {layer.index: self.model.get_submodule(layer.path) for layer in self.layers}
        by_source: dict[Source, list[nn.Module]] = {}
        for index, module in modules.items():
            by_source.setdefault(self.taps[index].source, []).append(module)
        with ExitStack() as stack:
            # Hooks run in the order they were put on: a layer's last one comes after its source's.
            for module in modules.values():
                handle = module.register_forward_pre_hook(watch.enter)
                stack.callback(handle.remove)
            for source, watched in by_source.items():
                stack.enter_context(source.watch(self.model, watched, watch.record))
            for layer in self.layers:
                leave = watch.leave(layer, self.taps[layer.index])
                handle = modules[layer.index].register_forward_hook(leave, with_kwargs=True)
                stack.callback(handle.remove)
            yield

    def _positions(self) -> Iterator[tuple[str, int]]:
        """What the config says of the most tokens, under the keys that it has.

        It says nothing where no position enters: a recurrence has no longest sequence.
        """
        for key in _POSITIONS if self._limited else ():
            positions = getattr(self.body.config, key, None)
            if isinstance(positions, int) and positions > 0:
                yield key, positions

    def _check_positions(self, tokens: int) -> None:
        for key, positions in self._positions():
            if positions < tokens:
                message = (
                    f"the model takes {positions:,} tokens at most ({key}), "
                    f"and the sequences have {tokens:,}"
                )
                raise UsageError(message, hint=given(seq_len=positions))


def _is_rotary(module: nn.Module) -> bool:
    return "rotary" in type(module).__name__.lower()


#: What configs call the most tokens that their model takes.
_POSITIONS = ("max_position_embeddings", "max_seq_len")


def same_name(name: str) -> str | None:
    """The tensor names of the file are the model's."""
    return name


def load_transformers_model(
    checkpoint: TensorSource,
    config: Mapping[str, Any],
    device: str,
    dtype: str = "float32",
    rename: Callable[[str], str | None] = same_name,
    *,
    bare: bool = False,
    kind: Any = None,  # noqa: ANN401  (a class of models)
) -> nn.Module:
    """The causal language model that `config` (with its `model_type`) and the weights make.

    Without its head where the weights have none, or another one (`other_heads`).

    The weights come through spectrakit's own readers, so nothing of transformers touches the
    files; `rename` maps a tensor name of the file to the model's, or to None where the model has no
    place for it. bare: the model without a language head or a pooler. kind: the class of the model;
    None for the one that transformers has for the config. dtype: of the weights and the
    forward pass; recurrences lose their memory in half precision.

    Raises MalformedError where names or shapes do not fit the model, UnsupportedError where the
    weights are quantised or the installed transformers does not know the model.
    """
    quantised = quantisation(checkpoint) is not None
    with quiet_transformers():
        from huggingface_hub.errors import StrictDataclassError
        from transformers import (
            CONFIG_MAPPING,
            MODEL_FOR_CAUSAL_LM_MAPPING,
            MODEL_MAPPING,
            AutoConfig,
        )

        keys = {key: value for key, value in config.items() if key not in _NOT_FOR_MODELS}
        # An option of initialisation, which classes of Mamba apply to loaded weights as well.
        rescaled = keys.pop(_RESCALED, None)
        if rescaled is not None:
            keys[_RESCALED] = False
        if _PADDING in keys and not _is_token(keys[_PADDING]):
            keys[_PADDING] = None  # of another type, which config classes refuse
        try:
            model_config = AutoConfig.for_model(**keys)
            _forget_padding(model_config)
        except (TypeError, ValueError, AttributeError, StrictDataclassError) as error:
            if config["model_type"] not in CONFIG_MAPPING:
                raise _unknown_to_transformers(checkpoint, config) from error
            message = f"transformers does not accept the config of {checkpoint.model_id}: {error}"
            raise MalformedError(
                message, hint=f"spectrakit inspect {checkpoint.model_id}"
            ) from error
        # The language head is never run: a family that has no class with one does without.
        classes = MODEL_FOR_CAUSAL_LM_MAPPING
        classes = classes if type(model_config) in classes and not bare else MODEL_MAPPING
        model_class: Any = classes[type(model_config)] if kind is None else kind
        if quantised:
            renamed = any(rename(name) not in (name, None) for name in checkpoint.tensors)
            if renamed or checkpoint.config.get("model_type") != config["model_type"]:
                raise not_runnable(checkpoint)  # transformers looks for its own names in the files
            model, report = load_quantised(checkpoint, model_class, model_config, device, dtype)
        else:
            model, report = _built(checkpoint, model_class, model_config, dtype, rename)
    if bare:
        kept = {name for name in report["missing_keys"] if not name.startswith("pooler.")}
        report = dict(report) | {"missing_keys": kept}
    _check_loading(checkpoint, settle_heads(model, report, checkpoint.model_id))
    if rescaled is not None:  # for whoever draws such weights from this config
        setattr(model.config, _RESCALED, rescaled)
    loaded: nn.Module = model.eval().requires_grad_(False)
    return loaded if quantised else loaded.to(device)


def _built(
    checkpoint: TensorSource,
    model_class: Any,  # noqa: ANN401
    model_config: Any,  # noqa: ANN401
    dtype: str,
    rename: Callable[[str], str | None],
) -> tuple[Any, Mapping[str, Any]]:
    """The model with the checkpoint's weights, and what transformers reports of its loading."""
    local = checkpoint.localize()
    renamed = {name: rename(name) for name in local.tensors}
    weights = local.read(name for name, new in renamed.items() if new is not None)
    state = {renamed[name]: tensor for name, tensor in weights.items()}
    try:
        model, report = model_class.from_pretrained(
            None,
            config=model_config,
            state_dict=state,
            dtype=getattr(torch, dtype),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (TypeError, ValueError, ZeroDivisionError, KeyError) as error:
        message = f"transformers cannot build the model of {checkpoint.model_id}: {error}"
        raise MalformedError(
            message.splitlines()[0], hint=f"spectrakit inspect {checkpoint.model_id}"
        ) from error
    return model, report


_RESCALED = "rescale_prenorm_residual"
_PADDING = "pad_token_id"


def _forget_padding(config: Any) -> None:  # noqa: ANN401  (a config of transformers)
    """Leave out a padding token that the vocabulary does not have, the class's own or the file's.

    Padding is masked and its token never embedded, so any will do; but embeddings are made with it.
    """
    padding, vocabulary = getattr(config, _PADDING, None), getattr(config, "vocab_size", None)
    if padding is None or not isinstance(vocabulary, int):
        return
    if not (_is_token(padding) and padding < vocabulary):
        setattr(config, _PADDING, None)


def _is_token(token: object) -> bool:
    return isinstance(token, int) and not isinstance(token, bool) and token >= 0


def _unknown_to_transformers(
    checkpoint: TensorSource, config: Mapping[str, Any]
) -> UnsupportedError:
    import transformers

    message = (
        f"{checkpoint.model_id}: transformers {transformers.__version__} does not know "
        f"model_type {config['model_type']!r}"
    )
    return UnsupportedError(message, hint="pip install --upgrade 'transformers>=5.16,<6'")


#: Keys of a config.json that would name code or storage rather than sizes.
_NOT_FOR_MODELS = frozenset(
    {"auto_map", "dtype", "torch_dtype", "_name_or_path", "transformers_version"}
)


def _check_loading(checkpoint: TensorSource, report: Mapping[str, Any]) -> None:
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
