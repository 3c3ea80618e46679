"""How the softmax attention of a transformers model is seen: its scores and its normaliser.

Most modelling files look their attention up in `AttentionInterface`: ours stands there during the
pass and computes the output and the log-normaliser together, without the T x T matrix
(`ATTENTION`). Falcon calls torch's `scaled_dot_product_attention` itself, where ours can stand just
as well (`SCALED_DOT_PRODUCT`); its eager attention would add ALiBi twice. The rest (bloom, codegen,
gpt_neo, gptj, mpt, xglm, ...) write their attention out, and are seen at its softmax (`SOFTMAX`):
that takes the T x T matrices those models build anyway, of one layer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.architectures import attention_interface
from spectrakit.architectures.taps import Seen, Tap
from spectrakit.architectures.transformers_family import Part
from spectrakit.mixers import Observation, SoftmaxAttention
from spectrakit.mixers.attention_scores import Scores, ScoresOfWeights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spectrakit.architectures.taps import Record
    from spectrakit.mixers import Mixer


@dataclass(frozen=True)
class AttentionSource:
    """Calls of the attention function in transformers' `AttentionInterface`.

    Their queries and keys come after rotary embeddings and norms, and before the heads of a group
    are repeated.
    """

    @property
    def description(self) -> str:
        """What it waits for."""
        return "calls of AttentionInterface"

    @contextmanager
    def watch(
        self,
        model: nn.Module,
        modules: Sequence[nn.Module],  # noqa: ARG002  (the model has one attention for all)
        record: Record,
    ) -> Iterator[None]:
        """Put our attention in the place of the model's."""
        attention_interface.register()
        token = attention_interface.RECORD.set(record)
        try:
            with _implementation(model, attention_interface.NAME):
                yield
        finally:
            attention_interface.RECORD.reset(token)


@dataclass(frozen=True)
class ScaledDotProductSource:
    """Calls of torch's `scaled_dot_product_attention` with a causal mask."""

    @property
    def description(self) -> str:
        """What it waits for."""
        return "causal calls of scaled_dot_product_attention"

    @contextmanager
    def watch(
        self,
        model: nn.Module,
        modules: Sequence[nn.Module],  # noqa: ARG002  (whose call it is, `record` knows)
        record: Record,
    ) -> Iterator[None]:
        """Put our attention in its place."""
        from spectrakit.architectures.attention_modes import ScaledDotProductMode

        with _implementation(model, "sdpa"), ScaledDotProductMode(record):
            yield


@dataclass(frozen=True)
class SoftmaxSource:
    """The softmax over T x T scores of an eager attention, and what its weights multiply."""

    @property
    def description(self) -> str:
        """What it waits for."""
        return "softmax over the scores of an eager attention"

    @contextmanager
    def watch(
        self,
        model: nn.Module,
        modules: Sequence[nn.Module],  # noqa: ARG002  (whose softmax it is, `record` knows)
        record: Record,
    ) -> Iterator[None]:
        """Have the model run its eager attention, and follow its softmax."""
        from spectrakit.architectures.attention_modes import SoftmaxMode

        with _implementation(model, "eager"), SoftmaxMode(record):
            yield


@contextmanager
def _implementation(model: nn.Module, name: str) -> Iterator[None]:
    """Have the model, and every model inside it, attend by the implementation `name`.

    On the configs themselves, which the modelling files look at: `set_attn_implementation` refuses
    where a modelling file has other ways than `AttentionInterface`.
    """
    configs: list[Any] = []
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, _IMPLEMENTATION) and not any(config is other for other in configs):
            configs.append(config)
    before = [getattr(config, _IMPLEMENTATION) for config in configs]
    for config in configs:
        setattr(config, _IMPLEMENTATION, name)
    try:
        yield
    finally:
        for config, implementation in zip(configs, before, strict=True):
            setattr(config, _IMPLEMENTATION, implementation)


_IMPLEMENTATION = "_attn_implementation_internal"


def read_attention(mixer: Mixer, seen: Seen) -> Observation:
    """From a call of our attention."""
    assert isinstance(mixer, SoftmaxAttention)  # noqa: S101  (architectures pair them)
    (call,) = seen.calls
    scores: Scores = call.arguments["scores"]
    told = call.arguments["log_normaliser"], call.arguments["log_odds"]
    recurrence = mixer.observed(scores, *told, scores.sinks)
    inputs = _by_head(call.arguments["value"], mixer.heads)
    return Observation(recurrence, inputs, outputs=call.output.transpose(1, 2))


def read_softmax(mixer: Mixer, seen: Seen) -> Observation:
    """From a softmax over scores, with the heads on an axis of their own or in the batch's."""
    assert isinstance(mixer, SoftmaxAttention)  # noqa: S101  (architectures pair them)
    (call,) = seen.calls
    weights: Tensor = call.arguments["weights"]
    tokens = weights.shape[-1]
    weights = weights.reshape(-1, mixer.heads, tokens, tokens)
    batch = len(weights)
    log_normaliser, log_odds = (
        call.arguments[name].reshape(batch, mixer.heads, tokens)
        for name in ("log_normaliser", "log_odds")
    )
    value, output = (
        x.reshape(batch, -1, tokens, x.shape[-1]) for x in (call.arguments["value"], call.output)
    )
    scores = ScoresOfWeights(weights, log_normaliser)
    recurrence = mixer.observed(scores, log_normaliser, log_odds)
    return Observation(recurrence, _by_head(value, mixer.heads), outputs=output.transpose(1, 2))


def _by_head(value: Tensor, heads: int) -> Tensor:
    """(B, G, T, P) -> (B, T, H, P): the heads of a group have the same values."""
    value = value.transpose(1, 2)
    return value if value.shape[2] == heads else value.repeat_interleave(heads // value.shape[2], 2)


ATTENTION = Tap(AttentionSource(), read_attention)
SCALED_DOT_PRODUCT = Tap(ScaledDotProductSource(), read_attention)
SOFTMAX = Tap(SoftmaxSource(), read_softmax)


def attention_part(path: str, heads: int, tap: Tap = ATTENTION) -> Part:
    """The softmax attention at `path` of a block."""
    return Part(path, SoftmaxAttention(heads), tap)
