"""What a model, or each block or mixer of it, remembers of its input: measured as a black box.

The model runs again on every batch, with a white signal u_t in place of its residual stream or of
what its mixers are handed, in vectors like those of the text (`white_drive`). Then u_{t-tau} is
read back, linearly, from the residual stream behind or from the mixers' outputs
(`spectrakit.representations.delay_regression`).

    drive="model"    the embeddings are driven, and read back at every depth
    drive="blocks"   every block in turn, and read back behind it
    drive="mixers"   every mixer without its block's norm and residual, all of them in one pass,
                     each by a signal of its own: what one takes of another is noise to it

Where the signal enters the residual stream there is delay 0 alone; what is found of older inputs is
what mixers brought there. Weights mode has the mixers whose recurrence weights alone determine; as
they are linear, their response to an impulse says what they make of the signal.

The measure is our own: arXiv 2510.00563 defines the memory function of a linear recurrence, which
this equals where a model or mixer is one and shows as many outputs as it has states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from spectrakit._lazy import lazy_import
from spectrakit.analyses.empirical_memory.options import EmpiricalMemoryOptions
from spectrakit.analyses.empirical_memory.tables import EMPIRICAL_MEMORY
from spectrakit.analyses.empirical_memory.white_drive import WhiteDrive, white
from spectrakit.analyses.finite_states import check_finite, check_mixer_finite
from spectrakit.dynamics import ConstantInput, ConstantOutput
from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.impulse_response import convolved, impulse_response
from spectrakit.errors import UsageError
from spectrakit.representations.delay_regression import DelayRegression, TooFewSamplesError
from spectrakit.representations.spread import lengths
from spectrakit.wording import given

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.analyses.base import Request, Rerun
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Recurrence
    from spectrakit.tables import Sink
else:
    torch = lazy_import("torch")

#: Features a read-out has at most: of wider outputs, so many sums of coordinates.
MOST_FEATURES = 256
#: Delays per doubling.
_PER_OCTAVE = 8
#: Sequences and tokens of the signal in weights mode, which has no text to take them from.
_SEQUENCES, _TOKENS = 16, 4096


class Route(NamedTuple):
    """Where the signal enters and where it is read: two depths, or a mixer's input and output."""

    driven_depth: int | None = None
    depth: int | None = None
    layer: int | None = None


class EmpiricalMemory:
    """The `empirical_memory` analysis. It runs the model again, so only when it is named."""

    def __init__(self, sink: Sink, request: Request) -> None:
        self.sink = sink
        self._seed = request.seed
        self._drive = request.options(EmpiricalMemoryOptions).drive
        self._generator = torch.Generator().manual_seed(request.seed)
        #: By the depth where the signal enters, or by the mixer's layer.
        self._places: dict[int, WhiteDrive] = {}
        self._regressions: dict[Route, DelayRegression] = {}
        #: Why there is nothing of a layer.
        self._reasons: dict[Route, str] = {}
        #: By width: which sum a coordinate is in, and its sign.
        self._sums: dict[int, tuple[Tensor, Tensor]] = {}
        self._sequences = 0

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Drive a recurrence that weights alone determine; a running model shows its mixers itself.

        Raises UsageError where more than the mixers is to be driven, and there are weights alone.
        """
        if valid is not None:
            return
        if self._drive != "mixers":
            message = f"weights alone do not show what {given(drive=self._drive)} would drive"
            hint = f"{given(drive='mixers')}, or {given(mode='data')} where the model runs"
            raise UsageError(message, hint=hint)
        route = Route(layer=layer.index)
        write, read = recurrence.input_map, recurrence.output_map
        if not isinstance(write, ConstantInput) or not isinstance(read, ConstantOutput):
            self._reasons[route] = "unknown-b-or-c"
            return
        heads, _, inputs = write.weight.shape
        direction = WhiteDrive.standard(heads * inputs, self._seed).direction
        response = self._features(impulse_response(recurrence, direction, _TOKENS))
        signal = white((_SEQUENCES, _TOKENS), self._generator)
        self._add(route, convolved(response, signal), signal)

    def see_rerun(self, rerun: Rerun, valid: Tensor) -> None:
        """Drive the sequences that fill the batch's whole length with a white signal.

        Raises AnalysisError where a token's state is NaN or Inf, UnsupportedError where the mixers
        are to be driven and the model does not show them alone.
        """
        whole = valid.all(1)
        if bool(whole.any()):
            if self._drive == "mixers":
                self._drive_mixers(rerun, whole)
            else:
                self._drive_stream(rerun, whole, valid.shape)
        self._sequences += len(valid)

    def _drive_stream(self, rerun: Rerun, whole: Tensor, shape: tuple[int, ...]) -> None:
        signal = white(shape, self._generator)
        last = self._drive_depth(rerun, signal, whole, entry=0)
        for entry in range(1, last) if self._drive == "blocks" else ():
            self._drive_depth(rerun, signal, whole, entry)

    def _drive_depth(self, rerun: Rerun, signal: Tensor, whole: Tensor, entry: int) -> int:
        """Run with the signal at depth `entry`; the deepest depth there is."""
        last = 0

        def on_states(depth: int, states: Tensor) -> Tensor | None:
            nonlocal last
            last = depth
            looked_at = whole.to(states.device).unsqueeze(1).expand(signal.shape)
            check_finite(depth, lengths(states.float()), looked_at, self._sequences)
            if depth == entry:
                if depth not in self._places:
                    stream = states[whole].flatten(0, 1)
                    self._places[depth] = WhiteDrive.like(stream, self._seed)
                states = self._places[depth].vectors(signal, states)
            if entry <= depth and (depth <= entry + 1 or self._drive == "model"):
                self._add(Route(entry, depth), self._features(states[whole]), signal[whole.cpu()])
            return states if depth == entry else None

        rerun(on_states)
        return last

    def _drive_mixers(self, rerun: Rerun, whole: Tensor) -> None:
        """Run with a signal at every mixer; before the first time, see what the model hands it."""
        signals: dict[int, Tensor] = {}

        def check(what: str, layer: Layer, vectors: Tensor) -> None:
            looked_at = whole.to(vectors.device).unsqueeze(1).expand(vectors.shape[:2])
            norms = lengths(vectors.float())
            check_mixer_finite(what, layer, norms, looked_at, self._sequences)

        def measure(layer: Layer, hidden: Tensor) -> None:
            check("is handed", layer, hidden)
            handed = hidden[whole].flatten(0, 1)
            self._places[layer.index] = WhiteDrive.like(handed, self._seed)

        def on_input(layer: Layer, hidden: Tensor) -> Tensor:
            signals[layer.index] = white(hidden.shape[:2], self._generator)
            return self._places[layer.index].vectors(signals[layer.index], hidden)

        def on_output(layer: Layer, output: Tensor) -> None:
            check("gives, driven alone,", layer, output)
            signal = signals.pop(layer.index)[whole.cpu()]
            self._add(Route(layer=layer.index), self._features(output[whole]), signal)

        if not self._places:
            rerun.mixers(measure, lambda *_: None)
        rerun.mixers(on_input, on_output)

    def finish(self) -> None:
        """Write what is recovered at each delay, of every place that was read."""
        routes = [*self._regressions, *self._reasons]  # of one kind: depths, or layers
        for route in sorted(routes, key=lambda route: [at for at in route if at is not None]):
            columns = route._asdict() | self._recovered(route)
            self.sink.append(EMPIRICAL_MEMORY, EMPIRICAL_MEMORY.table(columns))

    def _recovered(self, route: Route) -> dict[str, object]:
        if route in self._reasons:
            return {"delay": [0], "reason": self._reasons[route]}
        regression = self._regressions[route]
        columns: dict[str, object] = {"delay": list(regression.delays)}
        try:
            found = regression.recovered()
        except TooFewSamplesError:
            return columns | {"reason": "too-few-tokens"}
        if not found.threshold < 1:
            return columns | {"reason": "noise", "samples": found.samples}
        return columns | {
            "value": found.value.numpy(),
            "threshold": found.threshold,
            "remembered": found.remembered.numpy(),
            "samples": found.samples,
            "dimension": found.dimension.numpy(),
            "ridge": found.ridge.numpy(),
            "reason": None,
        }

    def _add(self, route: Route, features: Tensor, signal: Tensor) -> None:
        if route not in self._regressions:
            delays = Delays(max(1, signal.shape[1] // 2), _PER_OCTAVE).kept.tolist()
            self._regressions[route] = DelayRegression(delays, self._seed)
        self._regressions[route].add(features, signal)

    def _features(self, vectors: Tensor) -> Tensor:
        """What is read of vectors (..., E): all of it, or MOST_FEATURES sums of its coordinates.

        Each coordinate is in one of the sums, with a random sign: the few that are a hundred times
        as large as the others in trained models then drown a few sums, and not all of them.
        """
        width = vectors.shape[-1]
        if width <= MOST_FEATURES:
            return vectors
        if width not in self._sums:
            generator = torch.Generator().manual_seed(self._seed)
            signs = 2.0 * torch.randint(0, 2, (width,), generator=generator) - 1
            places = torch.randperm(width, generator=generator) % MOST_FEATURES
            self._sums[width] = (places, signs)
        places, signs = (each.to(vectors.device) for each in self._sums[width])
        wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        found = wide.new_zeros(*wide.shape[:-1], MOST_FEATURES)
        return found.index_add_(-1, places, wide * signs)
