"""The road from a checkpoint to its tables, on one page.

    name -> checkpoint -> architecture -> mixer -> recurrence -> analyses -> tables

Weights mode reads the few tensors that determine a layer's A, layer by layer. Data mode runs the
model once over streamed tokens and shows every analysis each layer as the forward pass reaches it.
Nothing is kept but what the analyses add up.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from spectrakit._threads import one_thread
from spectrakit.analyses.base import Request
from spectrakit.analyses.running import RunningAnalyses
from spectrakit.architectures.reading import weights_recurrence
from spectrakit.architectures.residual_stream import block_number
from spectrakit.forward import placed, see_forward
from spectrakit.output import Destination, RunOutput
from spectrakit.planning import LayerPlan, Plan, Resolved, resolve, run_folder
from spectrakit.progress import Progress, Silent
from spectrakit.provenance import check_repeated, contents_of, manifest_of
from spectrakit.tables import LAYERS, SPECTRUM, Run, Sink
from spectrakit.tables.layer_order import InLayerOrder
from spectrakit.tables.manifest import Recorded

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Mode
    from spectrakit.forward import TextRead
    from spectrakit.model import Model
    from spectrakit.settings import Randomized, Source
    from spectrakit.spec import RunSpec
    from spectrakit.tables import Manifest

logger = logging.getLogger("spectrakit")

#: Tables that data mode writes layer by layer, in order, and that may be too large to be kept back.
_LARGE = frozenset({SPECTRUM.name})

#: Bytes of tensors read at once in weights mode: near ones of several layers share a request.
_BATCH_BYTES = 32 << 20


def analyze(
    model: Model,
    spec: RunSpec,
    to: Destination | None = None,
    *,
    keywords: Collection[str] = (),
    repeats: Manifest | None = None,
    progress: Progress | None = None,
) -> Run:
    """Analyse one model as `spec` says and return its tables.

    model: the one that `spec` names, opened. to: where the run goes; None keeps it in memory.
    keywords: settings that were named, which are refused where nothing follows them even at their
    defaults. repeats: the record of the run that `spec` is of, which is to be done again.

    Raises what `resolve` does, AnalysisError and MalformedError where a layer cannot be analysed,
    OutputError where the run cannot be written, UsageError where it would replace another, or where
    the model or a file is not what it was in the run that is repeated.
    """
    progress, to = progress or Silent(), to or Destination()
    resolved = resolve(model, spec, keywords)
    if resolved.plan.source == "data":
        device, dtype = placed(model, resolved.spec)
        spec = replace(resolved.spec, device=device, dtype=dtype)
        resolved = replace(resolved, spec=spec)
    contents = contents_of(model, resolved)
    if to.out is None and to.root is not None:
        # That folder has only runs that were asked for alike.
        folder = to.root / run_folder(model, resolved, contents)
        to = replace(to, out=folder, overwrite=True)
    manifest = manifest_of(model, resolved, contents, to)
    if repeats is not None:
        check_repeated(repeats, manifest)
    for note in model.equations:
        logger.info(note)
    charts = [chart for kind in resolved.kinds for chart in kind.charts]
    with RunOutput(to, manifest, charts) as output:
        _fill(output, model, resolved, progress)
    return output.run


def _fill(output: RunOutput, model: Model, resolved: Resolved, progress: Progress) -> None:
    """Compute the tables of a run."""
    spec, plan = resolved.spec, resolved.plan
    in_weights = plan.source == "weights"
    # Layers that need no tokens are done before the others: in data mode, rows are sorted.
    rows = InLayerOrder(output.sink, as_they_come=None if in_weights else _LARGE)
    request = Request(*spec.options, seed=spec.seed)
    running = RunningAnalyses(resolved.kinds, rows, request)
    read = None
    if in_weights:
        see_weights(model, plan, running, progress, spec.randomize, spec.seed)
    else:
        read = see_forward(model, spec, running, progress)
    running.finish()
    rows.flush()
    untrained = spec.randomize is not None
    _write_layers(output.sink, model, plan, running.seen, read, untrained=untrained)
    output.finish(_recorded(read, running.warnings()))


def see_weights(
    model: Model,
    plan: Plan,
    analyses: RunningAnalyses,
    progress: Progress,
    randomize: Randomized | None = None,
    seed: int = 0,
) -> None:
    """Show each analysed layer's recurrence, from weights alone, or from what they started as."""
    total = len(plan.analysed)
    with one_thread(), progress.task("analysing layers", total=total, unit="layer") as task:
        for layer, tensors in _weights(model, plan.analysed, randomize, seed):
            analyses.see(layer, weights_recurrence(model.checkpoint, layer, tensors), None)
            task.advance(1)


def _weights(
    model: Model, layers: Iterable[Layer], randomize: Randomized | None, seed: int
) -> Iterator[tuple[Layer, dict[str, Tensor]]]:
    """Each layer with the tensors that weights mode reads; none is read where all are drawn."""
    if randomize is not None:
        from spectrakit.architectures.untrained import Untrained

        untrained = Untrained(model, seed)
        yield from ((layer, untrained.tensors(layer)) for layer in layers)
        return
    for group in _groups(model, layers):
        tensors = model.checkpoint.read(name for layer in group for name in layer.weights_tensors)
        yield from ((layer, tensors) for layer in group)


def _groups(model: Model, layers: Iterable[Layer]) -> Iterator[list[Layer]]:
    """Layers whose tensors are read together."""
    group: list[Layer] = []
    size = 0
    for layer in layers:
        cost = model.checkpoint.cost(layer.weights_tensors)
        if group and size + cost > _BATCH_BYTES:
            yield group
            group, size = [], 0
        group.append(layer)
        size += cost
    if group:
        yield group


def _recorded(read: TextRead | None, warnings: Sequence[str]) -> Recorded:
    """What the run's manifest says in the end; warnings are given to the user, too."""
    for line in warnings:
        logger.warning("%s", line)
    if read is None:
        return Recorded(warnings=warnings)
    return Recorded(read.tokens, read.sequences, warnings)


def _write_layers(
    sink: Sink,
    model: Model,
    plan: Plan,
    seen: Mapping[int, tuple[Mode, str]],
    read: TextRead | None,
    *,
    untrained: bool,
) -> None:
    same = {} if read is None else {"tokens": read.tokens, "sequences": read.sequences}
    if untrained and plan.source == "weights":
        same["bytes_read"] = 0
    rows = [_layer_row(model, planned, plan.source, seen) | same for planned in plan.layers]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    sink.append(LAYERS, LAYERS.table(columns))


def _layer_row(
    model: Model, planned: LayerPlan, source: Source, seen: Mapping[int, tuple[Mode, str]]
) -> dict[str, object]:
    layer = planned.layer
    mode, gauge = seen.get(layer.index, (None, None))
    return {
        "layer": layer.index,
        "path": layer.path,
        "block": block_number(layer.path),
        "kind": layer.kind,
        "operator": None if layer.mixer is None else layer.mixer.operator,
        "mode": mode,
        "gauge": gauge,
        "heads": layer.heads,
        "channels": layer.channels,
        "state_size": layer.state_size,
        "status": planned.status,
        "reason": planned.reason,
        "bytes_read": _bytes_read(model, planned, source),
    }


def _bytes_read(model: Model, planned: LayerPlan, source: Source) -> int:
    """Bytes of this layer's tensors that were read."""
    tensors = model.checkpoint.tensors
    if planned.status != "analysed":
        return 0
    layer = planned.layer
    names = layer.weights_tensors if source == "weights" else layer.tensors(tensors)
    return sum(tensors[name].span for name in names)
