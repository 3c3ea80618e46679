"""The memory of eigenvalues that no checkpoint holds: the named sets, compared in one run.

Each set with each step is a layer of the run, named in its `layers` table. `legs` comes twice: by
its eigenvalues, and by S4's own A and B, whose memory is computed from their impulse responses
alone. That the two agree is what "S4 = S4D" says where eigenvalues are shared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from spectrakit._lazy import lazy_import
from spectrakit._threads import one_thread
from spectrakit.analyses.base import Request
from spectrakit.analyses.kind import Chart
from spectrakit.analyses.memory.analysis import Memory
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.analyses.memory.rows import write_memory
from spectrakit.analyses.memory.tables import MEMORY_FUNCTION, MEMORY_SUMMARY
from spectrakit.analyses.spectrum.analysis import Spectrum
from spectrakit.architectures import Layer
from spectrakit.dynamics import DiagonalDecay, Recurrence
from spectrakit.dynamics.delays import Delays
from spectrakit.dynamics.eigenvalue_sets import EIGENVALUE_SETS, EigenvalueSet, legs_system
from spectrakit.dynamics.finite_past import memory_of_rows
from spectrakit.dynamics.leverage import leverage
from spectrakit.errors import UsageError
from spectrakit.output import Destination, RunOutput
from spectrakit.progress import Progress, Silent
from spectrakit.registry import Later
from spectrakit.tables import (
    LAYERS,
    SPECTRUM,
    Manifest,
    Run,
    Sink,
)
from spectrakit.tables.manifest import Recorded
from spectrakit.wording import per_door

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch")

#: States of a set, at most.
_MOST_STATES = 4096
#: Numbers of the impulse responses of S4's own matrices, at most: 128 MiB.
_MOST_NUMBERS = 1 << 24


#: Of all sets beside each other.
CHART = Chart(
    name="memory",
    table=MEMORY_FUNCTION.name,
    draw=Later("spectrakit.analyses.memory.eigenvalue_set_chart:eigenvalue_set_figure"),
    needs=(MEMORY_SUMMARY.name, SPECTRUM.name),
)


class _System(NamedTuple):
    """A set with a step: what it is called, and its recurrence, conjugates included."""

    name: str
    of: EigenvalueSet
    step: float | None
    recurrence: Recurrence


def eigenvalue_memory(
    names: Sequence[str],
    size: int,
    steps: Sequence[float],
    options: MemoryOptions | None = None,
    *,
    seed: int = 0,
    to: Destination | None = None,
    progress: Progress | None = None,
) -> Run:
    """The spectra and memory functions of named sets of `size` real state dimensions.

    names: of `EIGENVALUE_SETS`. steps: dt of the sets in continuous time; each is taken with every
    one. seed: of the sets that are drawn at random. to: where the run goes; None keeps it in
    memory.

    Raises UsageError for a name that is none, a size that is odd or too large, or no step, and
    where another run would be replaced.
    """
    to = to or Destination()
    request = Request(*([] if options is None else [options]), seed=seed)
    systems = list(_systems(names, size, steps, seed))
    manifest = _manifest(names, size, steps, request, to.command)
    with RunOutput(to, manifest, [CHART]) as output:
        with one_thread():
            _see(systems, size, output.sink, request, progress or Silent())
        output.finish(Recorded())
    return output.run


def _systems(
    names: Sequence[str], size: int, steps: Sequence[float], seed: int
) -> Iterator[_System]:
    if size < 2 or size % 2 or size > _MOST_STATES:
        message = f"{size} state dimensions: an even number, {_MOST_STATES} at most"
        raise UsageError(message, hint=per_door("--n 64", "size=64"))
    for name in dict.fromkeys(names):
        if name not in EIGENVALUE_SETS:
            message = f"unknown set of eigenvalues {name!r}"
            raise UsageError(message, hint=f"one of: {', '.join(EIGENVALUE_SETS)}")
        chosen = EIGENVALUE_SETS[name]
        for step in [None] if chosen.discrete else _positive(steps):
            called = name if step is None else f"{name}, dt {step:g}"
            yield _System(called, chosen, step, _recurrence(chosen, size, step, seed))


def _positive(steps: Sequence[float]) -> Sequence[float]:
    if not steps or not all(0 < step < math.inf for step in steps):
        hint = per_door("--dt 1e-3,1e-2,1e-1", "steps=[1e-3, 1e-2, 1e-1]")
        raise UsageError("sets in continuous time take steps > 0", hint=hint)
    return list(dict.fromkeys(steps))


def _recurrence(chosen: EigenvalueSet, size: int, step: float | None, seed: int) -> Recurrence:
    stored = chosen.eigenvalues(size, step, seed)
    log_decay, phase = stored.log_modulus, stored.phase
    if phase is not None:
        log_decay = torch.cat([log_decay, log_decay], -1)
        phase = torch.cat([phase, -phase], -1)
    return Recurrence(
        DiagonalDecay(log_decay, phase),
        mode="static",
        gauge="unnormalised",
        head_axis="channel",
        width=1,
    )


def _see(
    systems: Sequence[_System], size: int, sink: Sink, request: Request, progress: Progress
) -> None:
    analyses = (Spectrum(sink, request), Memory(sink, request))
    index = 0
    with progress.task("looking at their memory", total=len(systems), unit="system") as task:
        for system in systems:
            layer = Layer(index, system.name, system.of.name)
            for analysis in analyses:
                analysis.see(layer, system.recurrence, None)
            _write_layer(sink, layer, size, system.of.note)
            index += 1
            if system.of.name == "legs" and system.step is not None:
                layer = Layer(index, f"s4 legs, dt {system.step:g}", "legs")
                _write_s4(sink, layer, size, system.step, request.options(MemoryOptions))
                index += 1
            task.advance(1)
    for analysis in analyses:
        analysis.finish()


def _write_s4(sink: Sink, layer: Layer, size: int, step: float, options: MemoryOptions) -> None:
    """The memory of S4's HiPPO-LegS from its impulse responses, or why they do not tell it."""
    # The slowest eigenvalue is exp(-step): after so many tokens nothing is left in float64.
    tokens = math.ceil(40 / step)
    if tokens * size > _MOST_NUMBERS:
        _write_layer(sink, layer, size, f"{tokens} x {size} numbers are too many", "failed")
        return
    memory = s4_memory(size, step, tokens)
    rank = round(float(memory.sum()))
    if rank < size:
        reason = f"at this step float64 tells only {rank} of its {size} states apart"
        _write_layer(sink, layer, size, reason, "failed")
        return
    _write_layer(sink, layer, size, "by S4's own A and B")
    function = memory_of_rows(memory, Delays(options.horizon))
    common = {"layer": layer.index, "mode": "static", "precision": "exact", "inputs": 1}
    write_memory(sink, common, function, "channel", [0], curves=False)


def s4_memory(size: int, step: float, tokens: int) -> torch.Tensor:
    """MF of S4's HiPPO-LegS by delay, from A^tau B for `tokens` delays: (1, tokens)."""
    state, column = legs_system(size, step)
    columns = torch.empty(tokens, size, dtype=torch.float64)
    for tau in range(tokens):
        columns[tau] = column[:, 0]
        column = state @ column
    scores = leverage(columns.numpy(), torch.zeros(tokens, dtype=torch.float64).numpy())
    return torch.from_numpy(scores).unsqueeze(0)


def _write_layer(
    sink: Sink, layer: Layer, size: int, note: str | None, status: str = "analysed"
) -> None:
    row = {
        "layer": layer.index,
        "path": layer.path,
        "kind": layer.kind,
        "operator": DiagonalDecay.structure,
        "mode": "static",
        "gauge": "unnormalised",
        "channels": 1,
        "state_size": size,
        "status": status,
        "reason": note,
        "bytes_read": 0,
    }
    sink.append(LAYERS, LAYERS.table(row, rows=1))


def _manifest(
    names: Sequence[str], size: int, steps: Sequence[float], request: Request, command: str
) -> Manifest:
    options = request.options(MemoryOptions)
    return Manifest(
        model_id=f"{', '.join(dict.fromkeys(names))} with N = {size}",
        revision=f"seed-{request.seed}",
        mode="weights",
        source="eigenvalue sets by name",
        architecture="eigenvalue_sets",
        device="cpu",
        dtype="float64",
        command=command,
        spec={
            "n": size,
            "dt": list(steps),
            "horizon": options.horizon,
            "past": options.past,
            "seed": request.seed,
        },
    )
