"""The door for Python, as `spectrakit.cli` is that of the terminal: keywords to a `RunSpec`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit import pipeline
from spectrakit.errors import UsageError
from spectrakit.model import Model, open_checkpoint
from spectrakit.options import Options
from spectrakit.output import Destination
from spectrakit.spec import RunSpec
from spectrakit.spec_files import read_spec_file, spec_from, with_keywords
from spectrakit.token_options import TokenOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spectrakit.progress import Progress
    from spectrakit.tables import Run


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
        if isinstance(model, RunSpec):
            spec = model
        else:
            name = model.checkpoint.model_id if isinstance(model, Model) else model
            spec = RunSpec(model=str(name))
        spec = _spec(spec, tuple(options), source, settings)
        if isinstance(model, Model):
            opened = model
        else:
            opened = stack.enter_context(
                open_checkpoint(spec.model, revision=spec.revision, config=spec.config)
            )
        draw = None
        if figures:
            from spectrakit.report.drawing import draw_charts as draw
        to = Destination(None if out is None else Path(out), overwrite=overwrite, draw=draw)
        return pipeline.analyze(opened, spec, to, progress=progress)


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
        spec = replace(spec, source=source, mode="data" if spec.mode == "auto" else spec.mode)
    if options:
        spec = replace(spec, options=(*spec.options, *options))
    return with_keywords(spec, settings)
