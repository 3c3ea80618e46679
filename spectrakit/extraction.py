"""The state matrices of chosen layers as tensors, for use outside spectrakit.

Per layer, under the prefix `layers.N.` (axes as in `spectrakit.dynamics`: sequences S, tokens T,
heads or channels H, state N, groups G):

    log_decay or A_bar   ([S, T,] H, N) or ([S, T,] H, 1) where all N states share it: log|A| or A
    phase                likewise, in radians, where A is complex
    step                 ([S, T,] H), the discretisation step
    A                    (H, N) or (H, 1), the continuous-time eigenvalues
    B_bar                (S, T, H, N), data mode: what the input is multiplied with
    C                    (S, T, G, N), data mode: shared by the H / G heads of a group
    D                    (H,)

Where A is the same for every token, B_bar (H, N, Q) and C (H, Q, N) come from weights too, for Q
inputs and outputs of a head. Where A is not diagonal, log_decay and phase are its eigenvalues', and
A_bar is ([S, T,] H, N, N). A complex tensor has a last axis of two besides: real part, imaginary.

Weights mode computes in float64, data mode in the model's float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spectrakit._lazy import lazy_import
from spectrakit.architectures.reading import weights_recurrence
from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    DiagonalDecay,
    ScalarDecay,
    SeparableDecay,
)
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.forward import placed
from spectrakit.planning import plan_reading
from spectrakit.progress import Progress, Silent
from spectrakit.tables.folders import plain_errors, sync, temporary
from spectrakit.tokens import check_source, token_batches
from spectrakit.wording import given, named

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Gauge, Recurrence
    from spectrakit.mixers import Observation
    from spectrakit.model import Model
    from spectrakit.settings import Dtype
    from spectrakit.spec import RunSpec
    from spectrakit.token_options import TokenOptions
else:
    torch = lazy_import("torch")

#: "log-decay" keeps the digits that A has lost near 1; "a-bar" is A itself.
Form = Literal["log-decay", "a-bar"]

#: Data mode keeps what it extracts in memory until it is written.
_MOST_BYTES = 8 << 30


@dataclass(frozen=True)
class Extraction:
    """Matrices by name, and the gauge of each layer's state, by layer."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    gauges: dict[int, Gauge] = field(default_factory=dict)

    def add(self, layer: Layer, recurrence: Recurrence, form: Form) -> None:
        """Take in what `recurrence` says of `layer`."""
        self.tensors.update(_matrices(layer, recurrence, form))
        self.gauges[layer.index] = recurrence.gauge


def extract(
    model: Model,
    layers: Sequence[int] | None,
    spec: RunSpec,
    *,
    form: Form = "log-decay",
    progress: Progress | None = None,
) -> Extraction:
    """The matrices of `layers` (all where None), in the mode and on the tokens that `spec` says.

    Data mode takes one batch. The analyses of the spec are not run.

    Raises UsageError where a layer is not there or the result would not fit in memory,
    UnsupportedError where a layer cannot be read in this mode, MalformedError for bad weights.
    """
    plan = plan_reading(model, spec)
    chosen = list(plan.analysed) if layers is None else [model.layer(index) for index in layers]
    for layer in chosen:
        if layer not in plan.analysed:
            message = f"layer {layer.index} ({layer.kind}) cannot be read in {plan.source} mode"
            raise UnsupportedError(message, hint=layer.reason or given(mode="data"))
    if plan.source == "weights":
        return _from_weights(model, chosen, form, progress or Silent())
    device, dtype = placed(model, spec)
    return _from_data(model, chosen, form, spec.source, device, dtype)


def check_file(path: Path, told: Mapping[str, str], reads: Iterable[Path], overwrite: bool) -> None:
    """Raise UsageError where `path` may not be written.

    told: the metadata of what is to be written there; a file that was written with the same may be
    written again, any other only with `overwrite`. reads: files that are never replaced.
    """
    for other in reads:
        if path.exists() and other.exists() and path.samefile(other):
            message = f"{path} is what is read"
            raise UsageError(message, hint=f"another file with {named('out')}")
    if overwrite or not path.is_file():
        return
    from safetensors import SafetensorError, safe_open

    held = "is there already, and is no such extraction"
    with suppress(SafetensorError, OSError), safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        if metadata.items() >= told.items():
            return
        if "spectrakit_version" in metadata:
            held = f"is another extraction, of {metadata.get('model_id')}"
    message = f"{path} {held}"
    raise UsageError(
        message, hint=f"another file with {named('out')}, or {given(overwrite=True)} to replace it"
    )


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write `tensors` so that `path` is either whole or as it was.

    Raises OutputError where it cannot be written, UsageError where it is a folder.
    """
    from safetensors.torch import save

    if path.is_dir():
        message = f"{path} is a folder, not a file to write"
        raise UsageError(message, hint=f"a file in it: {path / 'model.safetensors'}")
    packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
    partial = temporary(path.parent, path.name)
    try:
        with plain_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(save(packed, metadata=dict(metadata)))
            sync(partial)
            partial.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):  # renamed already, or the folder itself is none
            partial.unlink()


def _from_weights(
    model: Model, layers: Sequence[Layer], form: Form, progress: Progress
) -> Extraction:
    found = Extraction()
    with progress.task("extracting layers", total=len(layers), unit="layer") as task:
        for layer in layers:
            feedthrough = layer.parameters.get("D")
            names = [*layer.weights_tensors, *([feedthrough] if feedthrough else [])]
            tensors = model.checkpoint.read(names)
            recurrence = weights_recurrence(model.checkpoint, layer, tensors)
            found.add(layer, recurrence, form)
            if feedthrough:
                found.tensors[f"layers.{layer.index}.D"] = tensors[feedthrough].clone()
            task.advance(1)
    return found


def _from_data(
    model: Model,
    layers: Sequence[Layer],
    form: Form,
    source: TokenOptions,
    device: str,
    dtype: Dtype,
) -> Extraction:
    _check_size(layers, source)
    check_source(source, model)
    runnable = model.load(device, dtype)
    batch = next(token_batches(source, model, runnable.vocabulary_size))
    wanted = {layer.index for layer in layers}
    found = Extraction(
        {"tokens": torch.from_numpy(batch.ids), "valid": torch.from_numpy(batch.valid)}
    )

    def on_layer(layer: Layer, observation: Observation) -> None:
        if layer.index in wanted:
            found.add(layer, observation.recurrence, form)

    runnable.run(torch.from_numpy(batch.ids), on_layer)
    return found


def _check_size(layers: Sequence[Layer], source: TokenOptions) -> None:
    tokens = min(source.max_tokens, source.batch_size * source.seq_len)
    # A and B for every token, head and state; C no more than they; in float32.
    # Attention keeps every token: its B and C are tokens wide.
    each = sum(
        3 * layer.mixer.heads * (layer.mixer.state_size or source.seq_len)
        for layer in layers
        if layer.mixer
    )
    size = 4 * tokens * each
    if size > _MOST_BYTES:
        message = (
            f"the matrices of {tokens} tokens and {len(layers)} layers take {size / 1e9:.0f} GB"
        )
        raise UsageError(
            message, hint=f"fewer {named('layers')} or a smaller {named('max_tokens')}"
        )


def _matrices(layer: Layer, recurrence: Recurrence, form: Form) -> dict[str, Tensor]:
    eigenvalues = recurrence.operator.eigenvalues()
    parts: dict[str, Tensor | None] = {
        "phase": eigenvalues.phase if form == "log-decay" else None,
        "step": recurrence.step,
        "A": recurrence.generator,
        "D": recurrence.feedthrough,
    }
    if form == "log-decay":
        parts["log_decay"] = eigenvalues.log_modulus
    elif not isinstance(recurrence.operator, ScalarDecay | DiagonalDecay | SeparableDecay):
        parts["A_bar"] = recurrence.operator.dense()
    else:
        parts["A_bar"] = eigenvalues.modulus if eigenvalues.phase is None else eigenvalues.values
    parts |= _maps(recurrence)
    prefix = f"layers.{layer.index}."
    return {prefix + name: _real(part) for name, part in parts.items() if part is not None}


def _maps(recurrence: Recurrence) -> dict[str, Tensor]:
    """B_bar and C, where the recurrence has them."""
    write, read = recurrence.input_map, recurrence.output_map
    if write is None or read is None:
        return {}
    if isinstance(write, ConstantInput) and isinstance(read, ConstantOutput):
        return {"B_bar": write.weight, "C": read.weight}
    heads = recurrence.operator.heads
    # One query for a group of heads is written once, not for each of them.
    query = read.query if isinstance(read, Contraction) else read.matrix(heads)
    return {"B_bar": write.matrix(heads), "C": query}


def _real(part: Tensor) -> Tensor:
    """A copy of `part`; safetensors has no complex128, so real and imaginary part side by side."""
    return torch.view_as_real(part.resolve_conj()).clone() if part.is_complex() else part.clone()
