"""Data mode: the model run once over streamed tokens, and every layer shown as it is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, get_args

from spectrakit._lazy import lazy_import
from spectrakit.errors import UsageError
from spectrakit.planning import Compat, Dtype
from spectrakit.tokens import TokenOptions, token_batches

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Gauge, Recurrence
    from spectrakit.mixers import Observation
    from spectrakit.model import Model
    from spectrakit.progress import Progress
else:
    torch = lazy_import("torch")

#: (layer, recurrence, valid tokens), one at a time.
See: TypeAlias = Callable[["Layer", "Recurrence", "Tensor | None"], None]


@dataclass(frozen=True)
class Forward:
    """How data mode runs the model, and in which gauge its recurrences are shown."""

    source: TokenOptions
    device: str
    dtype: Dtype = "float32"
    gauge: Gauge | None = None
    compat: Compat | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for a dtype or a gauge that there is not."""
        if self.compat is not None and self.gauge is not None:
            raise UsageError("--compat has the gauge of what was released", hint="leave one out")
        for what, value, choices in (
            ("dtype", self.dtype, get_args(Dtype)),
            ("gauge", self.gauge, (None, "dsf", "unnormalised")),
        ):
            if value not in choices:
                message = f"{value!r} is no {what}"
                raise UsageError(message, hint=" or ".join(filter(None, choices)))


def see_forward(model: Model, forward: Forward, see: See, progress: Progress) -> None:
    """Show each layer's recurrence on each batch, as a forward pass over the tokens reaches it."""
    runnable = model.load(forward.device, forward.dtype)
    if forward.compat is not None:
        from spectrakit.architectures.rickenbach2025 import as_released

        runnable = as_released(runnable)
    seen = 0
    total = forward.source.max_tokens
    with progress.task("running the model", total=total, unit="token") as task:
        for batch in token_batches(forward.source, model, runnable.vocabulary_size):
            valid = torch.from_numpy(batch.valid).to(forward.device)

            def on_layer(layer: Layer, observation: Observation, valid: Tensor = valid) -> None:
                recurrence = observation.recurrence
                if forward.gauge is not None:
                    recurrence = recurrence.in_gauge(forward.gauge)
                see(layer, recurrence, valid)

            runnable.run(torch.from_numpy(batch.ids), on_layer)
            seen += int(batch.valid.sum())
            task.advance(int(batch.valid.sum()))
    if seen == 0:
        raise UsageError("there are no tokens to run the model on")


def resolve_device(name: str) -> str:
    """The torch device of that name. Raises UsageError where this machine has none."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"this machine has no device {name!r}"
        raise UsageError(message, hint="--device cpu") from error
    return name
