"""The road from a checkpoint to its tables, on one page.

    name -> checkpoint -> architecture -> mixer -> recurrence -> analyses -> tables

Weights mode reads the few tensors that determine a layer's A, layer by layer. Data mode runs the
model once over streamed tokens and shows every analysis each layer as the forward pass reaches it.
Nothing is kept but what the analyses add up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from spectrakit._threads import one_thread
from spectrakit.analyses.base import Request
from spectrakit.analyses.empirical_memory_options import EmpiricalMemoryOptions
from spectrakit.analyses.massive_options import MassiveOptions
from spectrakit.analyses.memory_options import MemoryOptions
from spectrakit.analyses.probe_options import ProbeOptions
from spectrakit.analyses.propagation_options import PropagationOptions
from spectrakit.analyses.running import RunningAnalyses, analysis_names
from spectrakit.analyses.similarity_options import SimilarityOptions
from spectrakit.architectures.reading import weights_recurrence
from spectrakit.architectures.residual_stream import block_number
from spectrakit.dynamics import Domain
from spectrakit.errors import UsageError
from spectrakit.forward import Forward, placed, see_forward
from spectrakit.model import Model, open_checkpoint
from spectrakit.output import RunOutput
from spectrakit.planning import (
    AskedMode,
    Compat,
    Dtype,
    LayerPlan,
    Plan,
    Randomized,
    Source,
    may_run,
    mode_if_random,
    plan_layers,
    shows_states_alone,
)
from spectrakit.progress import Progress, Silent
from spectrakit.provenance import manifest_of
from spectrakit.tables import LAYERS, SPECTRUM, Run, Sink
from spectrakit.tables.layer_order import InLayerOrder
from spectrakit.tables.manifest import Recorded
from spectrakit.tokens import TokenOptions

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Gauge, Mode
    from spectrakit.forward import TextRead

logger = logging.getLogger("spectrakit")

#: Tables that data mode writes layer by layer, in order, and that may be too large to be kept back.
_LARGE = frozenset({SPECTRUM.name})

#: Bytes of tensors read at once in weights mode: near ones of several layers share a request.
_BATCH_BYTES = 32 << 20


def analyze(
    name: str | Model,
    *,
    analyses: str | Sequence[str] = ("spectrum",),
    mode: AskedMode = "auto",
    domains: Domain | Sequence[Domain] = ("discrete",),
    source: TokenOptions | None = None,
    device: str = "auto",
    dtype: Dtype = "float32",
    gauge: Gauge | None = None,
    compat: Compat | None = None,
    randomize: Randomized | None = None,
    seed: int = 0,
    memory: MemoryOptions | None = None,
    similarity: SimilarityOptions | None = None,
    propagation: PropagationOptions | None = None,
    massive: MassiveOptions | None = None,
    empirical_memory: EmpiricalMemoryOptions | None = None,
    probe: ProbeOptions | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    figures: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Run:
    """Analyse one model and return its tables.

    name: what `open_checkpoint` takes, or a `Model`. mode: "weights" reads a few megabytes, "data"
    runs the model over `source`; "auto" is weights where any layer has a spectrum there and no
    analysis needs more (and data where `source` is given). dtype: of the forward pass. gauge: of
    the states whose eigenvalues are taken, where a layer's read-out is normalised; None takes
    softmax and linear attention in two, dsf and retained, and each other layer in its own. compat:
    "rickenbach2025" shows the layers as the released analysis of arXiv 2510.09379 does, and adds
    its table. randomize: draws these weights anew, as a control, in either mode. seed: of all that
    is random. memory, similarity, propagation, empirical_memory, probe: what the analyses of these
    names are told; massive: which tokens and coordinates of hidden states similarity and
    propagation leave out. out: the run folder to write; None keeps the tables in memory. overwrite:
    replace a run that is in the folder even where it is of another model or has other settings.

    Raises what `open_checkpoint` does, UsageError for an unknown analysis, mode, domain or gauge,
    UnsupportedError where no layer can be analysed, AnalysisError and MalformedError where one
    cannot, OutputError where the run cannot be written, UsageError where it would replace another.
    """
    with ExitStack() as stack:
        model = name if isinstance(name, Model) else stack.enter_context(open_checkpoint(name))
        progress = progress or Silent()
        if source is not None and not isinstance(source, TokenOptions):
            raise UsageError("source must be a TokenOptions", hint="TokenOptions(text='book.txt')")
        mode = mode_if_random(model, mode, randomize)
        analyses = analysis_names(
            analyses, forward=may_run(model, mode), recurrences=not shows_states_alone(model)
        )
        request = Request(
            _domains(domains),
            seed,
            empirical_memory=empirical_memory or EmpiricalMemoryOptions(),
            massive=massive or MassiveOptions(),
            memory=memory or MemoryOptions(),
            probe=probe or ProbeOptions(),
            propagation=propagation or PropagationOptions(),
            similarity=similarity or SimilarityOptions(),
        )
        if compat is not None:
            analyses = analysis_names((*analyses, _known_compat(compat)))
        plan = plan_layers(model, mode, data_asked=source is not None, analyses=analyses)
        for note in model.equations:
            logger.info(note)
        forward = None
        if plan.source == "data":
            source = source or TokenOptions()
            device, dtype = placed(model, device, dtype)
            forward = Forward(source, device, dtype, gauge, compat, randomize, seed)
        manifest = manifest_of(model, plan.source, analyses, request, forward, randomize, command)
        with RunOutput(out, manifest, figures=figures, overwrite=overwrite) as output:
            # Layers that need no tokens are done before the others: in data mode, rows are sorted.
            rows = InLayerOrder(output.sink, as_they_come=None if forward is None else _LARGE)
            running = RunningAnalyses(analyses, rows, request)
            read = None
            if forward is None:
                see_weights(model, plan, running, progress, randomize, seed)
            else:
                read = see_forward(model, forward, running, progress)
            running.finish()
            rows.flush()
            untrained = randomize is not None
            _write_layers(output.sink, model, plan, running.seen, read, untrained=untrained)
            output.finish(_recorded(read, running.warnings()))
    return output.run


def _known_compat(compat: str) -> str:
    if compat not in get_args(Compat):
        message = f"{compat!r} is no analysis to be compatible with"
        raise UsageError(message, hint=" or ".join(get_args(Compat)))
    return compat


def _domains(asked: Domain | Sequence[Domain]) -> tuple[Domain, ...]:
    """Each domain once; a single one may stand alone. Raises UsageError where one is none."""
    domains: tuple[Domain, ...]
    domains = tuple(dict.fromkeys([asked] if isinstance(asked, str) else asked))
    unknown = [domain for domain in domains if domain not in get_args(Domain)]
    if unknown or not domains:
        message = f"{unknown[0]!r} is no domain" if unknown else "there are no domains"
        raise UsageError(message, hint="'discrete', 'continuous', or both in a tuple")
    return domains


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
