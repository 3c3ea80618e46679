"""The `probe` analysis: what a linear classifier can tell, at each depth, of what prompts ask for.

A prompt set (`spectrakit.prompt_sets`) makes prompts, each with the item that holds the answer at
one of several positions. From the residual stream at the prompt's last token, a probe per depth
tells that position, as in Lu et al. 2024 (arXiv 2406.14673); prompt sets may have other targets
too. Beside it stands the model's own choice among the answers of all items
(`PromptRunner.choices`). arXiv 2510.06640 probes both layer by layer; its classifier and splits are
not known.

The last token is the only one that has read both the items and the question: in a causal model, the
state at a passage's own end cannot know whether it will be asked for. For kv-retrieval, nothing but
retrieval tells the position. For multi-doc-qa, a model may recognise a passage without the question
(one that fits no other, say); hence the model's own accuracy beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from spectrakit.analyses.probe.options import ProbeOptions
from spectrakit.analyses.probe.prompts import check_lengths, prompts_asked
from spectrakit.analyses.probe.rows import Asked, probe_rows
from spectrakit.analyses.probe.states import PromptStates
from spectrakit.analyses.probe.tables import PROBE
from spectrakit.errors import AnalysisError
from spectrakit.representations.probing import cannot_probe, probe
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.analyses.base import Request, RunsPrompts
    from spectrakit.tables import Sink


class Probe:
    """The `probe` analysis."""

    def __init__(self, sink: Sink, request: Request) -> None:
        """Make the prompts, so that what cannot be asked is known before the model is loaded.

        Raises what `prompts_asked` does.
        """
        self.sink = sink
        self._options = options = request.options(ProbeOptions)
        self._seed = request.seed
        self._prompts = prompts_asked(options, request.seed)
        self._states = PromptStates(len(self._prompts), options.memory_bytes, request.seed)
        self._chosen: list[bool | None] | None = None

    def check_prompts(self, runner: RunsPrompts) -> None:
        """Raise UsageError where a prompt is longer than the model can take."""
        check_lengths(runner, self._prompts, self._options, self._seed)

    def see_prompts(self, runner: RunsPrompts) -> None:
        """Run the model on the prompts.

        Raises AnalysisError where a state is NaN or Inf, UsageError where a prompt is longer than
        the model can take.
        """
        for indices, states in runner.last_states(self._prompts):
            self._states.add(indices, states)
        self._chosen = runner.choices(self._prompts)

    def finish(self) -> None:
        """Fit the probes. Raises AnalysisError where no prompts were run."""
        if not self._states.depths:
            message = "probe is of hidden states, and none were seen"
            raise AnalysisError(message, hint=given(mode="data"))
        asked = Asked(self._prompts, self._chosen)
        for row in self._rows(asked):
            self.sink.append(PROBE, PROBE.table(row, rows=1))

    def _rows(self, asked: Asked) -> Iterator[dict[str, Any]]:
        for target in sorted(set.intersection(*(set(each.labels) for each in asked.prompts))):
            labels = asked.labels(target)
            reason = cannot_probe(labels, asked.sources, self._options.folds)
            for depth, states in enumerate(self._states.depths):
                found = reason or probe(
                    states, labels, asked.sources, self._options.folds, self._seed
                )
                known = {
                    "prompt_set": self._options.prompt_set,
                    "depth": depth,
                    "features": states.shape[1],
                }
                yield from (known | row for row in probe_rows(asked, target, found))
