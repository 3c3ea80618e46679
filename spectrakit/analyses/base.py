"""What every analysis offers: a mergeable accumulator that sees each layer as it passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Domain, Recurrence
    from spectrakit.tables import Sink


class Analysis(Protocol):
    """One run of an analysis over one model.

    The pipeline calls `see` once per layer in weights mode, and once per layer and batch in data
    mode, in the order of the forward pass; then `finish` once. Whatever `see` is given is gone
    afterwards: keep sums, not tensors. Rows that need nothing of later batches may go to the sink
    from `see` already.
    """

    #: Unique name among all plugins, as `--analyses` takes it: "spectrum".
    name: ClassVar[str]

    def __init__(self, sink: Sink, domains: Sequence[Domain]) -> None:
        """Start a run whose tables go to `sink`, about the `domains` the user asked for."""

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Take in one layer's recurrence.

        valid: (B, T) of bool, False on padding that no statistic may count; None in weights mode.
        """

    def merge(self, other: Self) -> None:
        """Take in what `other` saw of the same model on other tokens."""

    def finish(self) -> None:
        """Write the tables that had to wait for the last batch."""
