"""What will be done about every layer of a model, decided before anything is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from spectrakit.analyses.running import any_needs_forward, reruns_the_model
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.plain import path_part
from spectrakit.tokenization import tokenizer_sha256

if TYPE_CHECKING:
    from spectrakit.architectures import Layer
    from spectrakit.model import Model
    from spectrakit.tokens import TokenOptions

#: Where the recurrences come from: a model's weights, or its forward pass over tokens.
Source: TypeAlias = Literal["weights", "data"]
#: What the user asked for; "auto" is weights where any layer has a spectrum there, or nothing runs.
AskedMode: TypeAlias = Literal["auto", "weights", "data"]
#: What the forward pass may be computed in.
Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]
#: The weights that a random control draws anew; see `spectrakit.architectures.random_weights`.
Randomized: TypeAlias = Literal["all", "mixers", "mlps"]
#: A released analysis whose departures from the mathematics can be reproduced.
Compat: TypeAlias = Literal["rickenbach2025"]


@dataclass(frozen=True)
class LayerPlan:
    """What will be done about one layer: analysed, needs-data or unsupported, and why."""

    layer: Layer
    status: Literal["analysed", "needs-data", "unsupported"]
    reason: str | None = None


@dataclass(frozen=True)
class Plan:
    """Where the recurrences come from, and what that means for each layer."""

    source: Source
    layers: tuple[LayerPlan, ...]

    @property
    def analysed(self) -> tuple[Layer, ...]:
        """The layers that will be analysed."""
        return tuple(plan.layer for plan in self.layers if plan.status == "analysed")


def can_run(model: Model) -> bool:
    """Whether data mode can show any layer of `model`, or its hidden states.

    A bare state dict cannot be run.
    """
    readable = (layer for layer in model.layers if layer.mixer is not None)
    return any(layer.runs for layer in readable) or shows_states_alone(model)


def shows_states_alone(model: Model) -> bool:
    """Whether none of its layers is read, but it runs and has hidden states, as encoders do."""
    if any(layer.mixer is not None for layer in model.layers):
        return False
    shows = getattr(model.architecture, "shows_states", None)
    return shows is not None and bool(shows(model.checkpoint))


def may_run(model: Model, mode: AskedMode) -> bool:
    """Whether there may be a forward pass in this mode, and so analyses of one."""
    return mode == "data" or (mode == "auto" and can_run(model))


def plan_layers(
    model: Model,
    mode: AskedMode,
    *,
    data_asked: bool = False,
    analyses: Sequence[str] = (),
) -> Plan:
    """Decide for every layer whether it will be analysed, or why not.

    data_asked: whether there is a text to run the model on. analyses: by name; those that look at
    hidden states need a forward pass, and those that run the model again get one where it runs.

    Raises UnsupportedError where none can be, UsageError for an unknown mode, and for one that does
    not have what an analysis looks at.
    """
    forward = [name for name in analyses if any_needs_forward([name])]
    if mode not in get_args(AskedMode):
        message = f"{mode!r} is no mode"
        raise UsageError(message, hint=" or ".join(get_args(AskedMode)))
    readable = [layer for layer in model.layers if layer.mixer is not None]
    in_weights = [layer for layer in readable if layer.in_weights]
    if mode == "auto":
        wanted = bool(forward) or any(map(reruns_the_model, analyses))
        enough = in_weights and not data_asked and not (wanted and can_run(model))
        mode = "weights" if enough else "data"
    if mode == "weights":
        _check_weights_suffice(model, forward, data_asked=data_asked)
    analysed = in_weights if mode == "weights" else readable
    name = model.checkpoint.model_id
    if not analysed and not (forward and mode == "data" and shows_states_alone(model)):
        if readable:
            message = f"the weights of {name} alone determine no spectrum"
            raise UnsupportedError(message, hint="--mode data")
        reasons = sorted({layer.reason for layer in model.layers if layer.reason})
        message = f"no layer of {name} can be analysed: {'; '.join(reasons)}"
        hint = f"spectrakit inspect {name}"
        if shows_states_alone(model):
            hint = "its hidden states can: --analyses similarity,propagation"
        raise UnsupportedError(message, hint=hint)
    return Plan(mode, tuple(_plan_layer(layer, layer in analysed) for layer in model.layers))


def _check_weights_suffice(model: Model, forward: Sequence[str], *, data_asked: bool) -> None:
    """Raise UsageError where a text, or the analyses `forward`, need the model to run."""
    runs = can_run(model)
    if data_asked:
        hint = "--mode data, or leave the text out" if runs else "leave the text out"
        raise UsageError("weights mode reads no text", hint=hint)
    if forward and runs:
        message = f"{forward[0]} looks at hidden states, which weights mode does not have"
        raise UsageError(message, hint="--mode data")
    if forward:
        name = model.checkpoint.model_id
        message = f"{forward[0]} looks at hidden states, and {name} cannot be run here"
        raise UsageError(message, hint=f"leave {' and '.join(forward)} out")


def mode_if_random(model: Model, mode: AskedMode, randomize: Randomized | None) -> AskedMode:
    """`mode`; where weights that are drawn anew leave it open, data mode of a model that runs.

    Raises UsageError for weights mode where it reads nothing that is drawn anew.
    """
    if randomize is None:
        return mode
    if mode == "auto":
        mode = "data" if can_run(model) else "weights"
    if mode == "weights" and randomize == "mlps":
        message = "weights mode reads the layers that mix tokens alone, and no MLP"
        hint = "--mode data" if can_run(model) else "--randomize mixers"
        raise UsageError(message, hint=hint)
    return mode


def randomized_revision(revision: str, what: Randomized, seed: int) -> str:
    """The revision of such a model: its tables are not those of the trained one."""
    return f"random-{what}-{seed}-{revision}"


def _plan_layer(layer: Layer, analysed: bool) -> LayerPlan:
    if analysed:
        return LayerPlan(layer, "analysed")
    if layer.mixer is None:
        return LayerPlan(layer, "unsupported", layer.reason)
    return LayerPlan(layer, "needs-data", "A needs tokens: --mode data")


def default_folder(model: Model, source: TokenOptions | None, settings: Mapping[str, str]) -> Path:
    """Where a run of `model` goes unless told otherwise: spectrakit-runs/MODEL/SHA/MODE.

    source: what data mode reads, None for weights mode. settings: what was asked for otherwise than
    by default; with any, eight digits of their hash follow, and of the text's and a named
    tokenizer's: runs that differ do not overwrite each other.
    """
    mode: Source = "weights" if source is None else "data"
    revision = model.revision(mode)
    kind, dash, digest = revision.rpartition("-")
    folder: str = mode
    if settings:
        contents = [None if source is None else source.sha256()]
        if source is not None and source.tokenizer is not None:
            framed = source.bos or source.chat_template
            contents.append(tokenizer_sha256(source.tokenizer, model, framed=framed))
        told = json.dumps([sorted(settings.items()), *contents])
        folder += f"-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    parts = [path_part(part) for part in model.checkpoint.model_id.split("/")]
    shown = f"{kind}{dash}{digest[:12]}"
    return Path("spectrakit-runs", *parts, path_part(shown), folder)
