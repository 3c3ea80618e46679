"""The analyses of one run: which they are, and what of the model each of them looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from spectrakit.errors import UsageError
from spectrakit.plugins import plugins

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.analyses.base import Analysis, InAll, InGauges, Request, Rerun
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Gauge, Mode, Recurrence
    from spectrakit.prompts import PromptRunner
    from spectrakit.tables import Sink

#: Asks for every analysis that says so by `in_all`, or says nothing.
ALL = "all"


def analysis_names(
    asked: str | Iterable[str], *, forward: bool = True, recurrences: bool = True
) -> tuple[str, ...]:
    """The analyses of these names, each once; "all" stands for all there are.

    asked: names, or one that stands alone. forward: whether there is a forward pass; without one,
    "all" leaves out what needs it. recurrences: whether any layer has one; without them, "all"
    leaves out what looks at nothing else.

    Raises UsageError for a name that there is not, and where there is none at all.
    """
    registry = plugins().register().analyses
    names: list[str] = []
    for name in [asked] if isinstance(asked, str) else asked:
        if name == ALL:
            of_all = (
                each for each in registry.things if _is_of_all(registry[each], forward=forward)
            )
            names += [each for each in of_all if recurrences or needs_forward(registry[each])]
        else:
            registry[name]  # raises where there is none
            names.append(name)
    if not names:
        raise UsageError("there are no analyses to compute", hint="spectrakit plugins list")
    return tuple(dict.fromkeys(names))


def _is_of_all(analysis: type[Analysis], *, forward: bool) -> bool:
    """Whether "all" has it, with a forward pass or without."""
    in_all: InAll = getattr(analysis, "in_all", "always")
    if in_all == "always":
        return forward or not needs_forward(analysis)
    return in_all == "data mode" and forward


def needs_forward(analysis: type[Analysis]) -> bool:
    """Whether it looks at no recurrence, but at what weights alone do not determine."""
    return not hasattr(analysis, "see")


def any_needs_forward(names: Iterable[str]) -> bool:
    """Whether one of these analyses does."""
    registry = plugins().register().analyses
    return any(needs_forward(registry[name]) for name in names)


def reruns_the_model(name: str) -> bool:
    """Whether the analysis of this name runs the model again, where there is one to run."""
    return hasattr(plugins().register().analyses[name], "see_rerun")


class RunningAnalyses:
    """Shows every analysis what it looks at, and remembers how each layer was seen."""

    def __init__(self, names: Sequence[str], sink: Sink, request: Request) -> None:
        registry = plugins().register().analyses
        self._analyses: list[Any] = [registry[name](sink, request) for name in names]
        #: Mode and usual gauge of each layer that was shown, by its index.
        self.seen: dict[int, tuple[Mode, str]] = {}

    @property
    def wants_states(self) -> bool:
        """Whether any of them looks at hidden states."""
        return any(hasattr(analysis, "see_states") for analysis in self._analyses)

    @property
    def holds_states(self) -> bool:
        """Whether any of them keeps the hidden states of a batch at all depths."""
        return any(getattr(analysis, "holds_states", False) for analysis in self._analyses)

    @property
    def wants_text(self) -> bool:
        """Whether any of them looks at what the model makes of the text."""
        kinds = ("see", "see_states", "see_rerun")
        return any(hasattr(analysis, kind) for analysis in self._analyses for kind in kinds)

    @property
    def wants_prompts(self) -> bool:
        """Whether any of them has prompts of its own."""
        return any(hasattr(analysis, "see_prompts") for analysis in self._analyses)

    def see(
        self,
        layer: Layer,
        recurrence: Recurrence,
        valid: Tensor | None,
        gauge: Gauge | None = None,
    ) -> None:
        """One layer, and in data mode one batch of it; gauge: the one asked for, if any."""
        gauges = recurrence.default_gauges if gauge is None else (gauge,)
        every = [recurrence.in_gauge(each) for each in gauges]
        usual = every[-1]
        own = recurrence if gauge is None else usual
        self.seen[layer.index] = (usual.mode, usual.gauge)
        for analysis in self._analyses:
            if hasattr(analysis, "see"):
                asked: InGauges = getattr(analysis, "in_gauges", "own")
                shown = {"own": [own], "usual": [usual], "every": every}[asked]
                for each in shown:
                    analysis.see(layer, each, valid)

    def see_states(self, depth: int, states: Tensor, valid: Tensor) -> None:
        """The residual stream at one depth."""
        for analysis in self._analyses:
            if hasattr(analysis, "see_states"):
                analysis.see_states(depth, states, valid)

    def end_batch(self, rerun: Rerun, valid: Tensor) -> None:
        """A batch has been shown; `rerun` runs it again for those who ask."""
        for analysis in self._analyses:
            if hasattr(analysis, "see_states"):
                analysis.end_batch()
        for analysis in self._analyses:
            if hasattr(analysis, "see_rerun"):
                analysis.see_rerun(rerun, valid)

    def check_prompts(self, runner: PromptRunner) -> None:
        """Let those that have prompts look at them, before the model is run on anything."""
        for analysis in self._analyses:
            if hasattr(analysis, "check_prompts"):
                analysis.check_prompts(runner)

    def see_prompts(self, runner: PromptRunner) -> None:
        """Run the prompts of those that have some."""
        for analysis in self._analyses:
            if hasattr(analysis, "see_prompts"):
                analysis.see_prompts(runner)

    def warnings(self) -> list[str]:
        """What those that have some say of what they saw: statistics of too few tokens."""
        return [
            line
            for analysis in self._analyses
            if hasattr(analysis, "warnings")
            for line in analysis.warnings()
        ]

    def finish(self) -> None:
        """Let each write what had to wait."""
        for analysis in self._analyses:
            analysis.finish()
