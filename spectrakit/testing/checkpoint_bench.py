"""A checkpoint that is being checked: written, opened and run once, looked at by every check."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import spectrakit as sk
from spectrakit.plugins import plugins
from spectrakit.testing.require import require_equal

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures import Architecture, Layer, RunnableModel
    from spectrakit.architectures.base import DrivenModel
    from spectrakit.mixers import Observation
    from spectrakit.testing.examples import CheckpointExample

#: Every layer as one forward pass shows it, in the order they run.
Seen: TypeAlias = "list[tuple[Layer, Observation]]"


class CheckpointBench:
    """One example.

    What it writes is gone when it is.
    """

    def __init__(self, example: CheckpointExample) -> None:
        self.example = example
        self._scratch = Path(tempfile.mkdtemp(prefix="spectrakit-check-"))
        weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)

    def folder(self) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(dir=self._scratch))

    @cached_property
    def path(self) -> Path:
        """The checkpoint, as it would be opened."""
        return self.example.write(self.folder())

    @cached_property
    def model(self) -> sk.Model:
        """The checkpoint with the architecture that claimed it."""
        model = sk.open_checkpoint(str(self.path))
        weakref.finalize(self, model.close)
        return model

    @property
    def architecture(self) -> Architecture:
        """The one that the example is of."""
        return plugins().register().architectures[self.example.architecture]

    @property
    def tokens(self) -> Tensor:
        """Token ids (B, T); only checks that need them ask."""
        assert self.example.tokens is not None  # noqa: S101  (forward checks are for these alone)
        return self.example.tokens

    @cached_property
    def runnable(self) -> RunnableModel:
        """The model in memory."""
        return self.architecture.load(self.model.checkpoint, "cpu")

    @cached_property
    def seen(self) -> Seen:
        """Every layer on all tokens."""
        return self.observe(self.tokens)

    def observe(self, tokens: Tensor, valid: Tensor | None = None) -> Seen:
        """Every layer on `tokens`."""
        seen: Seen = []
        self.runnable.run(tokens, lambda layer, observed: seen.append((layer, observed)), valid)
        return seen

    def states(self, tokens: Tensor, changed: Mapping[int, Tensor] | None = None) -> list[Tensor]:
        """The residual stream at every depth, with those of `changed` put in their place."""
        seen: list[Tensor] = []

        def on_states(depth: int, states: Tensor) -> Tensor | None:
            require_equal("depth", depth, len(seen))
            instead = None if changed is None else changed.get(depth)
            seen.append((states if instead is None else instead).clone())
            return instead

        self.runnable.run(tokens, on_states=on_states)
        return seen

    @property
    def driven(self) -> DrivenModel | None:
        """The model, where it shows its mixers alone."""
        model = self.runnable
        return cast("DrivenModel", model) if hasattr(model, "run_mixers") else None


def analysed(run: sk.Run) -> list[int]:
    """Indices of the layers that a run has analysed."""
    rows = run.table("layers").to_pylist()
    return [row["layer"] for row in rows if row["status"] == "analysed"]
