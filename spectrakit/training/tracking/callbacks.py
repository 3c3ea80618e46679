"""The tracker in other people's trainers: transformers' and Lightning's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from spectrakit.training.tracking.watching import Watch, watch

if TYPE_CHECKING:
    from torch import Tensor


class SpectralCallback(TrainerCallback):
    """`Trainer(..., callbacks=[SpectralCallback(every=100)])`; see `watch` for the arguments.

    Snapshots are taken between the backward pass and the update, where gradients are there; those
    of mixed precision in float16 are scaled by then, those of bfloat16 are not.
    """

    def __init__(
        self,
        *,
        every: int = 100,
        memory_every: int | None = None,
        out: Path | str | None = None,
        probe: Tensor | None = None,
    ) -> None:
        self.every, self.memory_every, self.out, self.probe = every, memory_every, out, probe
        self.watch: Watch | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401, ARG002
        """Begin to watch the model that is trained."""
        if state.is_world_process_zero:
            self.watch = watch(
                given["model"],
                every=self.every,
                memory_every=self.memory_every,
                out=self.out,
                probe=self.probe,
            )
            self.watch.steps = state.global_step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401, ARG002
        """Look, before the weights change."""
        if self.watch is not None:
            self.watch.step()

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401, ARG002
        """Record the losses that the trainer logs."""
        logs = given.get("logs") or {}
        if self.watch is not None and "loss" in logs:
            self.watch.record(state.global_step, float(logs["loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ANN401, ARG002
        """Write what is left."""
        if self.watch is not None:
            self.watch.close()


def lightning_callback(
    *,
    every: int = 100,
    memory_every: int | None = None,
    out: Path | str | None = None,
    probe: Tensor | None = None,
    inner: str = "model",
) -> Any:  # noqa: ANN401  (a callback of whichever Lightning is installed)
    """A callback of Lightning that watches `module.<inner>`; see `watch` for the other arguments.

    Raises UsageError where neither `lightning` nor `pytorch_lightning` is installed.
    """
    base = _lightning()

    class LightningSpectra(base):  # type: ignore[misc, valid-type]
        """Looks before each update."""

        watch: Watch | None = None

        def on_fit_start(self, trainer: Any, module: Any) -> None:  # noqa: ANN401
            """Begin to watch."""
            if trainer.is_global_zero:
                model = getattr(module, inner)
                self.watch = watch(
                    model, every=every, memory_every=memory_every, out=out, probe=probe
                )
                self.watch.steps = trainer.global_step

        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:  # noqa: ANN401, ARG002
            """Look, before the weights change."""
            if self.watch is not None:
                self.watch.step()

        def on_fit_end(self, trainer: Any, module: Any) -> None:  # noqa: ANN401, ARG002
            """Write what is left."""
            if self.watch is not None:
                self.watch.close()

    return LightningSpectra()


def _lightning() -> type[Any]:
    from importlib import import_module

    from spectrakit.errors import UsageError

    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            found: type[Any] = import_module(name).Callback
        except ImportError:
            continue
        return found
    raise UsageError("Lightning is not installed", hint="pip install lightning")
