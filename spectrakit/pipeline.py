"""The road from a checkpoint to its tables, on one page.

    name -> checkpoint -> architecture -> mixer -> recurrence -> analyses -> tables

Weights mode reads the few tensors that determine a layer's A, layer by layer. Data mode runs the
model once over streamed tokens and shows every analysis each layer as the forward pass reaches it.
Nothing is kept but what the analyses add up.
"""

from __future__ import annotations

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
from spectrakit.dynamics import Domain
from spectrakit.errors import UsageError
from spectrakit.forward import Forward, resolve_device, see_forward
from spectrakit.model import Model, open_checkpoint
from spectrakit.planning import (
    AskedMode,
    Compat,
    Dtype,
    LayerPlan,
    Plan,
    Randomized,
    Source,
    data_mode_if_random,
    may_run,
    plan_layers,
    randomized_revision,
    shows_states_alone,
)
from spectrakit.progress import Progress, Silent
from spectrakit.report.drawn import Drawn, Tee
from spectrakit.tables import LAYERS, Manifest, MemorySink, Run, RunWriter, Sink, read_run
from spectrakit.tokenization import OWN_TOKENIZER
from spectrakit.tokens import TokenOptions

if TYPE_CHECKING:
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Gauge, Mode

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
    figures: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Run:
    """Analyse one model and return its tables.

    name: what `open_checkpoint` takes, or a `Model`. mode: "weights" reads a few megabytes, "data"
    runs the model over `source`; "auto" is weights where any layer has a spectrum there and no
    analysis needs more (and data where `source` is given). dtype: of the forward pass. gauge: of
    the states whose eigenvalues are taken, where a layer's read-out is normalised; None leaves each
    layer in its own (dsf for softmax and linear attention). compat: "rickenbach2025" shows the
    layers as the released analysis of arXiv 2510.09379 does, and adds its table. randomize: draws
    these weights anew before the forward pass, as a control. seed: of all that is random. memory,
    similarity, propagation, empirical_memory, probe: what the analyses of these names are told;
    massive: which tokens and coordinates of hidden states similarity and propagation leave out.
    out: the run folder to write; None keeps the tables in memory.

    Raises what `open_checkpoint` does, UsageError for an unknown analysis, mode, domain or gauge,
    UnsupportedError where no layer can be analysed, AnalysisError and MalformedError where one
    cannot, OutputError where the run cannot be written.
    """
    with ExitStack() as stack:
        model = name if isinstance(name, Model) else stack.enter_context(open_checkpoint(name))
        progress = progress or Silent()
        if source is not None and not isinstance(source, TokenOptions):
            raise UsageError("source must be a TokenOptions", hint="TokenOptions(text='book.txt')")
        mode = data_mode_if_random(model, mode, randomize)
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
        forward = None
        if plan.source == "data":
            source = source or TokenOptions()
            device = resolve_device(device)
            forward = Forward(source, device, dtype, gauge, compat, randomize, seed)
        manifest = _manifest(model, plan, analyses, request, forward, command)
        writer = None if out is None else stack.enter_context(RunWriter(out, manifest))
        drawn = Drawn(manifest) if writer is not None and figures else None
        kept = MemorySink(manifest)
        sink = Tee([sink for sink in (writer or kept, drawn) if sink is not None])
        running = RunningAnalyses(analyses, sink, request)
        if forward is None:
            see_weights(model, plan, running, progress)
        else:
            see_forward(model, forward, running, progress)
        running.finish()
        _write_layers(sink, model, plan, running.seen)
        if writer is not None and drawn is not None:
            for file, content in drawn.figures().items():
                writer.add_file(file, content)
    return kept.run if out is None else read_run(out)


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


def see_weights(model: Model, plan: Plan, analyses: RunningAnalyses, progress: Progress) -> None:
    """Show each analysed layer's recurrence, from weights alone."""
    total = len(plan.analysed)
    with one_thread(), progress.task("analysing layers", total=total, unit="layer") as task:
        for group in _groups(model, plan.analysed):
            tensors = model.checkpoint.read(
                name for layer in group for name in layer.weights_tensors
            )
            for layer in group:
                analyses.see(layer, model.weights_recurrence(layer, tensors), None)
                task.advance(1)


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


def _write_layers(
    sink: Sink, model: Model, plan: Plan, seen: Mapping[int, tuple[Mode, str]]
) -> None:
    rows = [_layer_row(model, planned, plan.source, seen) for planned in plan.layers]
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


def _revision(model: Model, forward: Forward | None) -> str:
    """The checkpoint's, or one that says which of its weights were drawn anew."""
    revision = model.checkpoint.revision
    if forward is None or forward.randomize is None:
        return revision
    return randomized_revision(revision, forward.randomize, forward.seed)


def _manifest(
    model: Model,
    plan: Plan,
    analyses: Sequence[str],
    request: Request,
    forward: Forward | None,
    command: str,
) -> Manifest:
    origin = model.claimed_by.origin
    data = {}
    if forward is not None:
        options = forward.source
        data = {
            "gauge": forward.gauge or "each layer's own",
            "compat": forward.compat,
            "randomize": forward.randomize,
            "text": options.source,
            "text_sha256": options.sha256(),
            "tokenizer": options.tokenizer or model.checkpoint.tokenizer or OWN_TOKENIZER,
            "batch_size": options.batch_size,
            "seq_len": options.seq_len,
            "max_tokens": options.max_tokens,
        }
    return Manifest(
        model_id=model.checkpoint.model_id,
        revision=_revision(model, forward),
        mode=plan.source,
        source=model.checkpoint.source,
        architecture=model.architecture.name,
        plugin=origin.distribution,
        plugin_version=origin.version,
        device="cpu" if forward is None else forward.device,
        dtype="float64" if forward is None else forward.dtype,
        seed=request.seed,
        command=command,
        options={
            "analyses": list(analyses),
            "domains": list(request.domains),
            "config": dict(model.checkpoint.given),
            **(request.probe.record() if "probe" in analyses else {}),
            **data,
        },
    )
