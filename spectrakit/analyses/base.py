"""What every analysis offers: a mergeable accumulator that sees a model as it passes by.

An analysis sees recurrences (`see`), hidden states (`see_states`), the same batch run again
(`see_rerun`), prompts of its own (`see_prompts`), or several of these. Whatever it is given is gone
afterwards: keep sums, not tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self, TypeAlias

from spectrakit.analyses.empirical_memory_options import EmpiricalMemoryOptions
from spectrakit.analyses.massive_options import MassiveOptions
from spectrakit.analyses.memory_options import MemoryOptions
from spectrakit.analyses.probe_options import ProbeOptions
from spectrakit.analyses.propagation_options import PropagationOptions
from spectrakit.analyses.similarity_options import SimilarityOptions

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.architectures.base import MixerInput, MixerOutput, StatesSeen
    from spectrakit.dynamics import Domain, Recurrence
    from spectrakit.prompts import PromptRunner
    from spectrakit.tables import Sink

#: In which gauges an analysis is shown a layer, where none is asked for: the one it was read in;
#: the usual one, in which layers are compared (`retained` for attention); each that is written, one
#: after another. Where one is asked for, in that one.
InGauges: TypeAlias = Literal["own", "usual", "every"]

#: Whether `--analyses all` has an analysis: wherever it has something to see, only where there are
#: tokens too, or only where it is named.
InAll: TypeAlias = Literal["always", "data mode", "never"]


@dataclass(frozen=True)
class Request:
    """What the user asked of the analyses.

    domains: of eigenvalues. seed: of everything that is drawn at random. The others: what the
    analysis of that name may be told.
    """

    domains: tuple[Domain, ...] = ("discrete",)
    seed: int = 0
    empirical_memory: EmpiricalMemoryOptions = field(default_factory=EmpiricalMemoryOptions)
    massive: MassiveOptions = field(default_factory=MassiveOptions)
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    propagation: PropagationOptions = field(default_factory=PropagationOptions)
    similarity: SimilarityOptions = field(default_factory=SimilarityOptions)

    def record(self, analyses: Iterable[str]) -> dict[str, object]:
        """What of it belongs in the record of a run of these analyses, as JSON values."""
        found: dict[str, object] = {}
        for name in analyses:
            if name == "probe":
                found |= self.probe.record()
            elif name == "perturbation":
                found["propagation"] = asdict(self.propagation)
            elif name in ("empirical_memory", "memory", "propagation", "similarity"):
                found[name] = asdict(getattr(self, name))
        return found


class Analysis(Protocol):
    """One run of an analysis over one model; it sees at least one of what is below.

    A class may have `in_all: ClassVar[InAll]`; without it, "always" is meant. An analysis of
    recurrences may have `in_gauges: ClassVar[InGauges]`; without it, "own" is meant. Any may have
    `warnings() -> Iterable[str]`, asked for after `finish`: what to know before using its numbers,
    such as a statistic that rests on too few tokens. They are shown, and kept in `run.json`.
    """

    #: Unique name among all plugins, as `--analyses` takes it: "spectrum".
    name: ClassVar[str]

    def __init__(self, sink: Sink, request: Request) -> None:
        """Start a run whose tables go to `sink`."""

    def merge(self, other: Self) -> None:
        """Take in what `other` saw of the same model on other tokens."""

    def finish(self) -> None:
        """Write the tables that had to wait for the last batch."""


class RecurrenceAnalysis(Analysis, Protocol):
    """An analysis of recurrences, in either mode."""

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Take in one layer's recurrence, in the order of the forward pass.

        Called once per layer in weights mode, and once per layer and batch in data mode (for each
        gauge where `in_gauges` is "every"). Rows that need nothing of later batches may go to the
        sink already.

        valid: (B, T) of bool, False on padding that no statistic may count; None in weights mode.
        """


class StatesAnalysis(Analysis, Protocol):
    """An analysis of hidden states, which only data mode has."""

    def see_states(self, depth: int, states: Tensor, valid: Tensor) -> None:
        """Take in the residual stream (B, T, E) at one depth.

        Depth 0 is where it enters the first block, l where it leaves the l-th; every batch shows
        all depths in order. The tensor is in the dtype of the forward pass. valid: as of `see`.
        """

    def end_batch(self) -> None:
        """All depths of a batch have been shown."""


class Rerun(Protocol):
    """A batch that can be run again, as often as an analysis needs."""

    def __call__(self, on_states: StatesSeen) -> None:
        """Show the residual stream, which may be changed on the way."""

    def mixers(self, on_input: MixerInput, on_output: MixerOutput) -> None:
        """Show what every mixer is handed, which may be changed, and what it makes of it.

        Raises UnsupportedError where the model does not show its mixers alone.
        """


class RerunAnalysis(Analysis, Protocol):
    """An analysis that asks what a change inside the model does, in data mode.

    One that has `see` too finds something in weights alone, but more in a model that runs.
    """

    def see_rerun(self, rerun: Rerun, valid: Tensor) -> None:
        """Run the batch again, as often as needed; called when its own pass has ended."""


class PromptAnalysis(Analysis, Protocol):
    """An analysis that asks the model prompts of its own, in data mode.

    One that has `check_prompts(runner)` too is asked before the model reads anything, and raises
    UsageError where its prompts are not such as the model can take.
    """

    def see_prompts(self, runner: PromptRunner) -> None:
        """Run them; called once, when the tokens of the text have been shown."""
