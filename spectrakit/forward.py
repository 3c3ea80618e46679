"""Data mode: the model run once over streamed tokens, and every layer shown as it is reached."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

from spectrakit._lazy import lazy_import
from spectrakit.architectures.residual_stream import depths_of
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.framing import framing
from spectrakit.memory_limits import check_states
from spectrakit.settings import Compat, Dtype, Randomized
from spectrakit.tokens import TokenBatch, check_source, token_batches
from spectrakit.wording import given, named

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.analyses.running import RunningAnalyses
    from spectrakit.architectures import Layer, RunnableModel
    from spectrakit.architectures.base import DrivenModel, MixerInput, MixerOutput, StatesSeen
    from spectrakit.mixers import Observation
    from spectrakit.model import Model
    from spectrakit.progress import Progress
    from spectrakit.prompts import PromptRunner
    from spectrakit.spec import RunSpec
else:
    torch = lazy_import("torch")

logger = logging.getLogger("spectrakit")


class TextRead(NamedTuple):
    """How much of a text the model was run on: tokens without padding, in so many sequences."""

    tokens: int
    sequences: int


def loaded(
    model: Model, device: str, dtype: Dtype, randomized: Randomized | None, seed: int
) -> RunnableModel:
    """The model, ready to run, with these weights drawn anew where some are to be.

    Raises what loading and drawing weights raise.
    """
    runnable = model.load(device, dtype, to_change=randomized is not None)
    if randomized is not None:
        from spectrakit.architectures.random_weights import randomize

        randomize(runnable, model.layers, randomized, seed)
    return runnable


def see_forward(
    model: Model, spec: RunSpec, analyses: RunningAnalyses, progress: Progress
) -> TextRead | None:
    """Show the analyses each batch, as a forward pass over the tokens goes through the model.

    Then run the prompts of those that have some, which are looked at before all else; the text is
    left out where no other is there, and None returned.
    """
    if analyses.wants_text:
        check_source(spec.source, model)
    runnable = loaded(model, spec.device, spec.dtype, spec.randomize, spec.seed)
    if spec.compat is not None:
        from spectrakit.architectures.rickenbach2025 import as_released

        runnable = as_released(runnable)
    runner = _prompt_runner(model, runnable, spec, progress) if analyses.wants_prompts else None
    if runner is not None:
        analyses.check_prompts(runner)
    read = None
    if analyses.wants_text:
        read = _see_text(model, runnable, spec, analyses, progress)
    if runner is not None:
        analyses.see_prompts(runner)
    return read


def _prompt_runner(
    model: Model, runnable: RunnableModel, spec: RunSpec, progress: Progress
) -> PromptRunner:
    from spectrakit.prompts import PromptRunner
    from spectrakit.tokenization import encoder

    source = spec.source
    encode = encoder(source.tokenizer, model)
    begin = encode
    if source.bos or source.chat_template:
        begin = framing(replace(source, tokens=None), model).prompt
    return PromptRunner(runnable, encode, source.batch_size, progress, begin)


def _see_text(
    model: Model,
    runnable: RunnableModel,
    spec: RunSpec,
    analyses: RunningAnalyses,
    progress: Progress,
) -> TextRead:
    tokens = sequences = 0
    depths = depths_of(layer.path for layer in model.layers)
    total = spec.source.max_tokens
    with progress.task("running the model", total=total, unit="token") as task:
        for batch in token_batches(spec.source, model, runnable.vocabulary_size):
            _see_batch(runnable, batch, spec, analyses, depths)
            tokens += int(batch.valid.sum())
            sequences += len(batch.valid)
            task.advance(int(batch.valid.sum()))
    if tokens == 0:
        raise UsageError("there are no tokens to run the model on")
    return TextRead(tokens, sequences)


def _see_batch(
    runnable: RunnableModel,
    batch: TokenBatch,
    spec: RunSpec,
    analyses: RunningAnalyses,
    depths: int,
) -> None:
    ids = torch.from_numpy(batch.ids)
    valid = torch.from_numpy(batch.valid).to(spec.device)

    def on_layer(layer: Layer, observation: Observation) -> None:
        analyses.see(layer, observation.recurrence, valid, spec.gauge)

    def on_states(depth: int, states: Tensor) -> None:
        if depth == 0 and analyses.holds_states:
            check_states(states, depths)
        analyses.see_states(depth, states, valid)

    mask = padding_mask(runnable, valid)
    runnable.run(ids, on_layer, mask, on_states if analyses.wants_states else None)
    analyses.end_batch(_BatchAgain(runnable, ids, spec.compat, mask), valid)


def padding_mask(runnable: RunnableModel, valid: Tensor) -> Tensor | None:
    """`valid` where tokens see what comes after them.

    What lies behind a text is padding that no token before it sees in other models, whose scans
    are faster without a mask.
    """
    return valid if getattr(runnable, "bidirectional", False) else None


@dataclass(frozen=True)
class _BatchAgain:
    """A batch that has been run: see `Rerun`."""

    runnable: RunnableModel
    ids: Tensor
    compat: Compat | None
    mask: Tensor | None = None

    def __call__(self, on_states: StatesSeen) -> None:
        self.runnable.run(self.ids, valid=self.mask, on_states=on_states)

    def mixers(self, on_input: MixerInput, on_output: MixerOutput) -> None:
        if self.compat is not None:  # whose layers are whole blocks
            compat = named("compat")
            raise UsageError(f"{compat} shows no mixers alone", hint=f"leave {compat} out")
        if not hasattr(self.runnable, "run_mixers"):
            message = f"{type(self.runnable).__name__} does not show its mixers alone"
            raise UnsupportedError(message, hint=given(drive="blocks"))
        cast("DrivenModel", self.runnable).run_mixers(self.ids, on_input, on_output)


def placed(model: Model, spec: RunSpec) -> tuple[str, Dtype]:
    """The device that the forward pass of `model` runs on, and the type that it runs in.

    A module in memory runs where it is and in its own type; float32, for which nobody has to ask,
    is then no other wish.

    Raises UsageError where this machine has no such device, the module is elsewhere, or of a type
    that forward passes are not recorded in.
    """
    own = model.placement
    if own is None:
        return resolve_device(spec.device), spec.dtype
    from spectrakit.architectures.live_module import check_asked

    device, dtype = own
    check_asked(own, spec.device, None if spec.dtype == "float32" else spec.dtype)
    if dtype not in get_args(Dtype):
        message = (
            f"the module is in {dtype}, and forward passes are in {', '.join(get_args(Dtype))}"
        )
        raise UsageError(message, hint=f"a copy in float32, or {given(mode='weights')}")
    if dtype != spec.dtype:
        logger.warning("the module is in %s and runs in it, not in %s", dtype, spec.dtype)
    return device, cast("Dtype", dtype)


def resolve_device(name: str) -> str:
    """The torch device of that name. Raises UsageError where this machine has none."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"this machine has no device {name!r}"
        raise UsageError(message, hint=given(device="cpu")) from error
    return name
