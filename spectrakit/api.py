"""The door for Python, as `spectrakit.cli` is that of the terminal: keywords to a `RunSpec`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit import pipeline, tables
from spectrakit.errors import UsageError
from spectrakit.model import Model, open_model
from spectrakit.notebook import Comparison, EigenvalueMemory, Run, Zoo
from spectrakit.options import settings as options_of_class
from spectrakit.output import Destination
from spectrakit.planning import check_for_many, check_named
from spectrakit.registry import Later
from spectrakit.spec import RunSpec
from spectrakit.spec_files import read_spec_file, spec_from, with_keywords
from spectrakit.token_options import TokenOptions
from spectrakit.wording import inspecting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spectrakit.analyses.memory.options import MemoryOptions
    from spectrakit.catalog import CatalogFilters
    from spectrakit.checkpoints.access import HubAccess
    from spectrakit.options import Options
    from spectrakit.progress import Progress
    from spectrakit.zoo.watch import Watch


#: Imported when there is something to draw.
DRAW_CHARTS = Later("spectrakit.report.drawing:draw_charts")
DRAW_COMPARISON = Later("spectrakit.report.drawing:draw_comparison")


def analyze(
    model: str | Model | RunSpec,
    *,
    options: Iterable[Options] = (),
    source: TokenOptions | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    figures: bool = False,
    progress: Progress | None = None,
    **settings: Any,  # noqa: ANN401  (each of its own type; they are checked)
) -> Run:
    """Analyse one model and return its tables.

    model: what `open_checkpoint` takes, a `Model`, or a `RunSpec` that says all of it. settings:
    those of the command line, by keyword: `analyses=["spectrum", "memory"]`, `mode="data"`,
    `text="book.txt"`, `seq_len=256`, `horizon=1024`. options: of analyses, as objects
    (`MemoryOptions(horizon=1024)`); source: of tokens, which asks for data mode. out: the run
    folder to write; None keeps the tables in memory. overwrite: replace a run that is in the folder
    even where it is of another model or has other settings. figures: draw the pictures into it.

    Raises what `open_checkpoint` does, UsageError for a setting that is none or that nothing
    follows, UnsupportedError where no layer can be analysed, AnalysisError and MalformedError where
    one cannot, OutputError where the run cannot be written, UsageError where it would replace
    another.
    """
    with ExitStack() as stack:
        if hasattr(model, "state_dict"):
            message = f"a {type(model).__name__} is a module, not the name of a model"
            raise UsageError(message, hint="analyze(from_model(module), ...)")
        if isinstance(model, RunSpec):
            spec = model
        else:
            name = model.checkpoint.model_id if isinstance(model, Model) else model
            spec = RunSpec(model=str(name))
        spec = _spec(spec, tuple(options), source, settings)
        if isinstance(model, Model):
            opened = model
        else:
            stack.enter_context(inspecting(spec.model, **spec.which))
            opened = stack.enter_context(open_model(spec))
        to = Destination(
            None if out is None else Path(out),
            overwrite=overwrite,
            draw=DRAW_CHARTS if figures else None,
        )
        run = pipeline.analyze(opened, spec, to, keywords=settings, progress=progress)
        return Run.of(run)


def batch(
    *targets: str | Path | Iterable[str | Path],
    out: Path | str,
    options: Iterable[Options] = (),
    filters: CatalogFilters | None = None,
    hub: HubAccess | None = None,
    figures: bool = False,
    watch: Watch | None = None,
    **settings: Any,  # noqa: ANN401  (each of its own type; they are checked)
) -> Zoo:
    """Analyse many models into the folder `out`; called again, it goes on where it was left.

    targets: files with lists of models, patterns over the catalog, folders, addresses of the Hub,
    models by name, as on the command line; one by one, or several in a list. options, settings: of
    every run, as of `analyze`; settings may be those of `spectrakit.zoo.options.BatchOptions` too:
    `jobs=4`, `time_limit=600`. filters: what entries of the catalog must be that a pattern finds.
    hub: the cache, the token and whether the network may be used, where the environment is not to
    say it. figures: draw the pictures of every run. watch: who is told how far it is.

    What becomes of a model raises nothing: see `Zoo.failed`. Raises UsageError for what means no
    model, for a setting that is none and for a folder that is something else's; MalformedError for
    a list that is damaged, OutputError where the folder cannot be written to, NetworkError where
    the Hub, or a scheduler, cannot be asked.
    """
    from spectrakit.zoo.batch import Invocation, run_batch, summarise
    from spectrakit.zoo.options import BatchOptions
    from spectrakit.zoo.selection import select
    from spectrakit.zoo.watch import Unwatched

    if settings.get("dry_run"):
        raise UsageError("dry_run is for the command line", hint="spectrakit batch --dry-run")
    own = {setting.name for setting in options_of_class(BatchOptions)}
    asked = BatchOptions(**{name: settings.pop(name) for name in own & settings.keys()})
    base = _spec(RunSpec(model=""), tuple(options), settings.pop("source", None), settings)
    check_for_many(base, settings)
    entries = select(list(_flat(targets)), base, filters=filters, access=hub)
    how = Invocation(hub=None if hub is None else hub.keywords(),
               draw=DRAW_CHARTS.place if figures else None)  # fmt: skip
    watch = watch or Unwatched()
    done = run_batch(entries, Path(out), asked, how, watch)
    summarise(done, DRAW_CHARTS.place, watch)
    return Zoo(done.folder.path)


def _flat(targets: Iterable[str | Path | Iterable[str | Path]]) -> Iterator[str]:
    for target in targets:
        if isinstance(target, str | Path):
            yield str(target)
        else:
            yield from map(str, target)


def read_batch(folder: Path | str) -> Zoo:
    """Open the folder of a batch. Raises UsageError where there is none in it."""
    from spectrakit.zoo.folder import BatchFolder

    opened = BatchFolder(Path(folder))
    opened.require()
    return Zoo(opened.path)


def read_run(folder: Path | str) -> Run:
    """Open the finished run in `folder`; see `spectrakit.tables.read_run`."""
    return Run.of(tables.read_run(Path(folder)))


def compare(
    *runs: tables.Run | Path | str,
    out: Path | str | None = None,
    overwrite: bool = False,
    figures: bool = False,
    similarity: TokenOptions | bool = False,
) -> Comparison:
    """How runs differ from the first: distances of their spectra, differences of their numbers.

    runs: two or more, or their folders. out: the folder to write the comparison into; None keeps it
    in memory. overwrite, figures: as of `analyze`. similarity: opens the models of the runs again
    and compares their hidden states on a text too, that of these options or the bundled one.

    Raises UsageError for runs that cannot be compared and where another run would be replaced,
    OutputError where it cannot be written, and what opening and running models raises.
    """
    from spectrakit.comparison import compare as compare_runs

    opened = [run if isinstance(run, tables.Run) else read_run(run) for run in runs]
    alike = None
    if similarity:
        from spectrakit.comparison.models import RunsModels

        source = similarity if isinstance(similarity, TokenOptions) else TokenOptions()
        alike = RunsModels(RunSpec(model="", mode="data", source=source))
    found = compare_runs(
        opened,
        None if out is None else Path(out),
        similarity=alike,
        overwrite=overwrite,
        draw=DRAW_COMPARISON if figures else None,
    )
    return Comparison.between(opened, found)


def preset_memory(
    *names: str,
    size: int = 32,
    steps: Sequence[float] = (1e-3, 1e-2, 1e-1),
    options: MemoryOptions | None = None,
    seed: int = 0,
    out: Path | str | None = None,
) -> Run:
    """What sets of eigenvalues remember, without a checkpoint: `preset_memory("s4d-lin")`.

    names: s4d-lin, s4d-inv, s4d-quad, s4d-real, legs, lru, random, lin, step. size: real state
    dimensions. steps: dt of those in continuous time. seed: of those that are drawn at random. out:
    the run folder to write; None keeps the tables in memory.

    Raises UsageError for a name that is none, a size that is odd or too large, or no step.
    """
    from spectrakit.eigenvalue_memory import eigenvalue_memory

    to = Destination(None if out is None else Path(out))
    return EigenvalueMemory.of(eigenvalue_memory(names, size, steps, options, seed=seed, to=to))


def read_spec(path: Path | str) -> RunSpec:
    """The spec in a TOML or JSON file, or in the `run.json` of a run.

    Raises UsageError for a file that is not there, a key or a value that is none; MalformedError
    for a file that is neither.
    """
    record, _ = read_spec_file(Path(path))
    return spec_from(record, Path(path).name)


def _spec(
    spec: RunSpec,
    options: tuple[Options, ...],
    source: TokenOptions | None,
    settings: dict[str, Any],
) -> RunSpec:
    """`spec` with what the keywords say besides."""
    if "config" in settings:
        spec = replace(spec, config=settings.pop("config"))
    if source is not None:
        if not isinstance(source, TokenOptions):
            raise UsageError("source must be a TokenOptions", hint="TokenOptions(text='book.txt')")
        mode = settings.pop("mode", spec.mode)
        if mode == "weights" and not source.asked:  # of a text, planning says more
            raise UsageError("source is for data mode", hint="leave source out")
        spec = replace(spec, source=source, mode="data" if mode == "auto" else mode)
    if options:
        spec = replace(spec, options=(*spec.options, *options))
    spec = with_keywords(spec, settings)
    check_named(spec, settings)
    return spec
