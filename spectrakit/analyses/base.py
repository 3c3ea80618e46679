"""What every analysis offers: an accumulator that sees a model as it passes by.

An analysis sees recurrences (`see`), hidden states (`see_states`), the same batch run again
(`see_rerun`), prompts of its own (`see_prompts`), or several of these. Whatever it is given is gone
afterwards: keep sums, not tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from spectrakit.options import Options, options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.architectures.base import MixerInput, MixerOutput, StatesSeen
    from spectrakit.dynamics import Recurrence
    from spectrakit.prompt_sets import Prompt

O = TypeVar("O", bound=Options)  # noqa: E741


class Request:
    """What the user asked of the analyses.

    options: those that are not at their defaults, a group once. seed: of everything that is drawn
    at random.
    """

    def __init__(self, *options: Options, seed: int = 0) -> None:
        self._options = options
        self.seed = seed

    def options(self, kind: type[O]) -> O:
        """The options of one class; its defaults where none were given."""
        return options_of(self._options, kind)


class Analysis(Protocol):
    """One run of an analysis over one model; it sees at least one of what is below.

    What it is called, which of these methods it has and what it writes is declared by an
    `AnalysisKind` (`spectrakit.analyses.kind`), whose `start` is called with the sink of the run's
    tables and the `Request`. It may have `warnings() -> Iterable[str]`, asked for after `finish`:
    what to know before using its numbers, such as a statistic that rests on too few tokens. They
    are shown, and kept in `run.json`.
    """

    def finish(self) -> None:
        """Write the tables that had to wait for the last batch."""


class RecurrenceAnalysis(Analysis, Protocol):
    """An analysis of recurrences, in either mode."""

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Take in one layer's recurrence, in the order of the forward pass.

        Called once per layer in weights mode, and once per layer and batch in data mode (for each
        gauge where its kind asks for "every"). Rows that need nothing of later batches may go to
        the sink already.

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


class RunsPrompts(Protocol):
    """A model that prompts can be put to; see `spectrakit.prompts.PromptRunner`."""

    def check_lengths(self, prompts: Sequence[Prompt], hint: Callable[[], str] = ...) -> None:
        """Raise UsageError where a prompt and its answer are longer than the model can take."""

    def last_states(self, prompts: Sequence[Prompt]) -> Iterator[tuple[list[int], list[Tensor]]]:
        """The indices of some prompts, and their last tokens' states (B, E) at every depth."""

    def choices(self, prompts: Sequence[Prompt]) -> list[bool | None] | None:
        """Whether the model chooses each prompt's answer; None where that cannot be told."""


class PromptAnalysis(Analysis, Protocol):
    """An analysis that asks the model prompts of its own, in data mode.

    One that has `check_prompts(runner)` too is asked before the model reads anything, and raises
    UsageError where its prompts are not such as the model can take.
    """

    def see_prompts(self, runner: RunsPrompts) -> None:
        """Run them; called once, when the tokens of the text have been shown."""
