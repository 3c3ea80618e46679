"""What a model, or each block of it, remembers of its input: measured as a black box.

The model runs again on every batch, with its residual stream replaced, at one depth, by a white
signal u_t along one direction:

    x_t = s (e_0 + g u_t e_1)        u_t uniform on [-sqrt 3, sqrt 3], so that <u^2> = 1

e_0 is the direction of the mean of what was there and e_1 a random one at a right angle to it, s
the root mean square length: the first keeps a norm that divides by the length from taking u_t away.
Then u_{t-tau} is read back, linearly, from the residual stream behind
(`spectrakit.representations.delay_regression`). Where the signal enters there is delay 0 alone;
what is found of older inputs is what mixers brought there. `drive="model"` drives the embeddings
and reads at every depth; `drive="blocks"` drives every block in turn and reads behind it. The
measure is our own: arXiv 2510.00563 defines the memory function of a linear recurrence, which this
equals where a model is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from spectrakit._lazy import lazy_import
from spectrakit.analyses.finite_states import check_finite
from spectrakit.dynamics.delays import Delays
from spectrakit.representations.delay_regression import DelayRegression, TooFewSamplesError
from spectrakit.representations.spread import lengths
from spectrakit.tables.empirical_memory_schema import EMPIRICAL_MEMORY

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.analyses.base import Request, Rerun
    from spectrakit.tables import Sink
else:
    torch = lazy_import("torch")

#: Features a read-out has at most: wider streams are projected on so many random directions.
MOST_FEATURES = 256
#: g: how far the signal moves the stream, over its mean.
_GAIN = 0.5
#: Delays per doubling.
_PER_OCTAVE = 8


class EmpiricalMemory:
    """The `empirical_memory` analysis. It runs the model again, so only when it is named."""

    name: ClassVar[str] = "empirical_memory"
    only_when_named: ClassVar[bool] = True

    def __init__(self, sink: Sink, request: Request) -> None:
        self.sink = sink
        self._seed = request.seed
        self._blocks = request.empirical_memory.drive == "blocks"
        self._generator = torch.Generator().manual_seed(request.seed)
        #: By the depth where the signal enters.
        self._drives: dict[int, _Drive] = {}
        #: By the depths where the signal enters and where it is read.
        self._regressions: dict[tuple[int, int], DelayRegression] = {}
        self._projections: dict[int, Tensor] = {}
        self._sequences = 0

    def see_rerun(self, rerun: Rerun, valid: Tensor) -> None:
        """Drive the sequences that fill the batch's whole length with a white signal.

        Raises AnalysisError where a token's state is NaN or Inf.
        """
        whole = valid.all(1)
        if bool(whole.any()):
            self._see_whole(rerun, whole, valid)
        self._sequences += len(valid)

    def _see_whole(self, rerun: Rerun, whole: Tensor, valid: Tensor) -> None:
        drawn = torch.rand(valid.shape, generator=self._generator, dtype=torch.float64)
        inputs = (2 * drawn - 1) * 3**0.5
        last = self._driven(rerun, inputs, whole, entry=0)
        for entry in range(1, last) if self._blocks else ():
            self._driven(rerun, inputs, whole, entry)

    def _driven(self, rerun: Rerun, inputs: Tensor, whole: Tensor, entry: int) -> int:
        """Run with the signal at depth `entry`; the deepest depth there is."""
        last = 0

        def on_states(depth: int, states: Tensor) -> Tensor | None:
            nonlocal last
            last = depth
            if depth == entry:
                if depth not in self._drives:
                    self._drives[depth] = _Drive.of(states[whole].flatten(0, 1), self._seed)
                states = self._drives[depth].stream(inputs, states)
            looked_at = whole.to(states.device).unsqueeze(1).expand(inputs.shape)
            check_finite(depth, lengths(states.float()), looked_at, self._sequences)
            if entry <= depth and (depth <= entry + 1 or not self._blocks):
                regression = self._regression((entry, depth), inputs.shape[1])
                regression.add(self._features(states[whole]), inputs[whole.cpu()])
            return states if depth == entry else None

        rerun(on_states)
        return last

    def merge(self, other: Self) -> None:
        """Take in what `other` saw of the same model on other tokens."""
        self._sequences += other._sequences
        for depths, regression in other._regressions.items():
            if depths in self._regressions:
                self._regressions[depths].merge(regression)
            else:
                self._regressions[depths] = regression

    def finish(self) -> None:
        """Write what is recovered at each depth and delay."""
        for depths in sorted(self._regressions):
            self.sink.append(EMPIRICAL_MEMORY, EMPIRICAL_MEMORY.table(self._columns(*depths)))

    def _columns(self, entry: int, depth: int) -> dict[str, object]:
        regression = self._regressions[entry, depth]
        delays = list(regression.delays)
        columns: dict[str, object] = {"driven_depth": entry, "depth": depth, "delay": delays}
        try:
            found = regression.recovered()
        except TooFewSamplesError as error:
            nothing = dict.fromkeys(("value", "threshold", "samples", "dimension"))
            return columns | nothing | {"reason": f"too few tokens: {error}"}
        return columns | {
            "value": found.value.numpy(),
            "threshold": found.threshold,
            "samples": found.samples,
            "dimension": found.dimension,
            "reason": None,
        }

    def _regression(self, depths: tuple[int, int], tokens: int) -> DelayRegression:
        if depths not in self._regressions:
            delays = Delays(max(1, tokens // 2), _PER_OCTAVE).kept.tolist()
            self._regressions[depths] = DelayRegression(delays, self._seed)
        return self._regressions[depths]

    def _features(self, states: Tensor) -> Tensor:
        width = states.shape[-1]
        if width <= MOST_FEATURES:
            return states
        if width not in self._projections:
            generator = torch.Generator().manual_seed(self._seed)
            drawn = torch.randn(width, MOST_FEATURES, generator=generator) / width**0.5
            self._projections[width] = drawn.to(states.device, torch.float32)
        return states.float() @ self._projections[width]


class _Drive:
    """The signal's place in the stream: offset (E,) and direction (E,)."""

    def __init__(self, offset: Tensor, direction: Tensor) -> None:
        self.offset = offset
        self.direction = direction

    @classmethod
    def of(cls, embedded: Tensor, seed: int) -> _Drive:
        """From embedded tokens (tokens, E)."""
        embedded = embedded.float()
        length = embedded.square().sum(-1).mean().sqrt()
        mean = embedded.mean(0)
        offset = mean / mean.norm().clamp(min=1e-12)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(len(mean), generator=generator).to(offset.device)
        across = drawn - (drawn @ offset) * offset
        return cls(length * offset, _GAIN * length * across / across.norm())

    def stream(self, inputs: Tensor, states: Tensor) -> Tensor:
        """x_t for u (B, T), as `states` are stored."""
        u = inputs.to(self.offset.device, torch.float32).unsqueeze(-1)
        return (self.offset + u * self.direction).to(states.dtype)
