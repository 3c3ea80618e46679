"""The analyses of one run: which they are, and what of the model each of them looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from spectrakit.errors import UsageError
from spectrakit.wording import given

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.analyses.base import Request, Rerun, RunsPrompts
    from spectrakit.analyses.kind import AnalysisKind, Sight
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Gauge, Mode, Recurrence
    from spectrakit.registry import Registry
    from spectrakit.tables import Sink

#: Asks for every analysis that says so by `in_all`, or says nothing.
ALL = "all"


def chosen_kinds(
    registry: Registry[AnalysisKind],
    asked: Iterable[str],
    *,
    forward: bool = True,
    recurrences: bool = True,
) -> tuple[AnalysisKind, ...]:
    """The analyses of these names, each once; "all" stands for all there are.

    forward: whether there is a forward pass; without one, "all" leaves out what needs it.
    recurrences: whether any layer has one; without them, "all" leaves out what looks at nothing
    else.

    Raises UsageError for a name that there is not, and where there is none at all.
    """
    names: list[str] = []
    for name in asked:
        if name == ALL:
            of_all = (each for each in registry.things if _is_of_all(registry[each], forward))
            names += [each for each in of_all if recurrences or registry[each].needs_forward]
        else:
            names.append(name)
    if not names:
        raise UsageError("there are no analyses to compute", hint=given(analyses="spectrum"))
    return tuple(registry[name] for name in dict.fromkeys(names))


def _is_of_all(kind: AnalysisKind, forward: bool) -> bool:
    """Whether "all" has it, with a forward pass or without."""
    if kind.in_all == "always":
        return forward or not kind.needs_forward
    return kind.in_all == "data mode" and forward


class RunningAnalyses:
    """Shows every analysis what it looks at, and remembers how each layer was seen."""

    def __init__(self, kinds: Sequence[AnalysisKind], sink: Sink, request: Request) -> None:
        #: Each analysis with its kind; which methods it has follows from what that `sees`.
        self._analyses: list[tuple[AnalysisKind, Any]] = [
            (kind, kind.start(sink, request)) for kind in kinds
        ]
        #: Mode and usual gauge of each layer that was shown, by its index.
        self.seen: dict[int, tuple[Mode, str]] = {}

    def _that_see(self, sight: Sight) -> list[Any]:
        return [analysis for kind, analysis in self._analyses if sight in kind.sees]

    @property
    def wants_states(self) -> bool:
        """Whether any of them looks at hidden states."""
        return bool(self._that_see("states"))

    @property
    def holds_states(self) -> bool:
        """Whether any of them keeps the hidden states of a batch at all depths."""
        return any(kind.holds_states for kind, _ in self._analyses)

    @property
    def wants_text(self) -> bool:
        """Whether any of them looks at what the model makes of the text."""
        return any(kind.sees - {"prompts"} for kind, _ in self._analyses)

    @property
    def wants_prompts(self) -> bool:
        """Whether any of them has prompts of its own."""
        return bool(self._that_see("prompts"))

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
        for kind, analysis in self._analyses:
            if "recurrences" in kind.sees:
                shown = {"own": [own], "usual": [usual], "every": every}[kind.in_gauges]
                for each in shown:
                    analysis.see(layer, each, valid)

    def see_states(self, depth: int, states: Tensor, valid: Tensor) -> None:
        """The residual stream at one depth."""
        for analysis in self._that_see("states"):
            analysis.see_states(depth, states, valid)

    def end_batch(self, rerun: Rerun, valid: Tensor) -> None:
        """A batch has been shown; `rerun` runs it again for those who ask."""
        for analysis in self._that_see("states"):
            analysis.end_batch()
        for analysis in self._that_see("reruns"):
            analysis.see_rerun(rerun, valid)

    def check_prompts(self, runner: RunsPrompts) -> None:
        """Let those that have prompts look at them, before the model is run on anything."""
        for analysis in self._that_see("prompts"):
            if hasattr(analysis, "check_prompts"):
                analysis.check_prompts(runner)

    def see_prompts(self, runner: RunsPrompts) -> None:
        """Run the prompts of those that have some."""
        for analysis in self._that_see("prompts"):
            analysis.see_prompts(runner)

    def warnings(self) -> list[str]:
        """What those that have some say of what they saw: statistics of too few tokens."""
        return [
            line
            for _, analysis in self._analyses
            if hasattr(analysis, "warnings")
            for line in analysis.warnings()
        ]

    def finish(self) -> None:
        """Let each write what had to wait."""
        for _, analysis in self._analyses:
            analysis.finish()
