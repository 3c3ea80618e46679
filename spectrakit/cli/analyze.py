"""`spectrakit analyze MODEL`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectrakit.cli import options
from spectrakit.cli.console import print_json, tell, terminal_progress
from spectrakit.cli.declared import Chosen
from spectrakit.cli.run_output import run_document, show_run
from spectrakit.errors import UsageError

if TYPE_CHECKING:
    from spectrakit.options import Setting
    from spectrakit.spec import RunSpec
    from spectrakit.tables import Manifest

ModelName = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A Hub repository, a folder, a weight file, or a name from the catalog; may be left "
        "out where --spec names it.",
        show_default=False,
    ),
]


def analyze(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    model: ModelName = None,
    spec: options.SpecFile = None,
    *,
    settings: Chosen,
    output: Chosen,
    config: options.Config = None,
    access: Chosen,
) -> None:
    """Compute spectra, memory or representations of a model; write them as Parquet, with pictures.

    Examples: spectrakit analyze state-spaces/mamba-130m; spectrakit analyze ./model --text book.txt
    """
    from spectrakit import pipeline
    from spectrakit.output import Destination
    from spectrakit.planning import check_named
    from spectrakit.report.drawing import draw_charts

    specs, repeats = _specs(model, spec, settings, options.config_values(config))
    shown = options.Output(**output.values)
    # Words that mean nothing are refused before a model is opened, which may be far away.
    check_named(specs[0], settings.given)
    first = specs[0]
    to = Destination(
        root=options.RUNS,
        overwrite=shown.overwrite,
        draw=draw_charts if shown.figures else None,
        command=shlex.join(["spectrakit", *sys.argv[1:]]),
    )
    with options.open_model(first, access) as opened:
        runs = [
            pipeline.analyze(
                opened,
                each,
                replace(to, out=_folder(shown.out, each, several=len(specs) > 1)),
                keywords=settings.given,
                repeats=repeats,
                progress=terminal_progress(),
            )
            for each in specs
        ]
        moved = opened.checkpoint.bytes_read
    if shown.json:
        documents = [run_document(run) for run in runs]
        print_json(documents[0] if len(runs) == 1 else {"runs": documents})
        return
    for run in runs:
        show_run(run, moved)
    if len(runs) > 1:
        folders = " ".join(str(run.folder) for run in runs)
        tell(f"side by side: spectrakit compare {folders}")


def _specs(
    model: str | None, file: Path | None, settings: Chosen, config: dict[str, object]
) -> tuple[list[RunSpec], Manifest | None]:
    """A spec for each length of sequences, and the run that they repeat."""
    from spectrakit.spec_files import read_spec_file, spec_from, with_keywords

    record, repeats = ({}, None) if file is None else read_spec_file(file)
    if model is not None:
        # A model of the file's own is no other's commit, nor are its files.
        record = {**record, "model": model, "revision": None, "file": None, "subfolder": None}
    elif file is None:
        raise UsageError("no model is named", hint="spectrakit analyze MODEL, or --spec FILE")
    elif repeats is not None and repeats.source == "memory":
        message = f"{file} is of a run of a model in memory, which cannot be opened again"
        raise UsageError(message, hint=f"spectrakit analyze MODEL --spec {file}")
    spec = spec_from(record, "the command line" if file is None else file.name)
    if config:
        spec = replace(spec, config={**spec.config, **config})
    given = dict(settings.given)
    if "seq_len" not in given:
        return [with_keywords(spec, given)], repeats
    lengths = options.lengths(given.pop("seq_len"))
    return [with_keywords(spec, given | {"seq_len": length}) for length in lengths], repeats


def _folder(out: Path | None, spec: RunSpec, *, several: bool) -> Path | None:
    """The folder that the user names; of several runs, one inside it for each."""
    return out / f"seq-{spec.source.seq_len}" if out is not None and several else out


def settings_of_runs() -> list[Setting]:
    """Every setting of a run, as options of `analyze`: of all analyses, those of plugins too."""
    from spectrakit.spec_files import all_settings

    return [_as_option(setting) for _, setting in all_settings().values()]


def _as_option(setting: Setting) -> Setting:
    if setting.keyword != "seq_len":
        return setting
    rule = replace(
        setting.rule,
        help="Tokens of a sequence; several, as 256,1024,4096, make a run of each.",
    )
    return replace(setting, type=str, default=str(setting.default), rule=rule)
