"""`spectrakit batch LIST|PATTERN|FOLDER ... --out D`, `batch status D`, `batch compact D`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from spectrakit.cli import options
from spectrakit.cli.batch_progress import Counting, watching
from spectrakit.cli.catalog_filters import FILTERS, catalog_filters
from spectrakit.cli.console import tell, terminal_progress
from spectrakit.cli.declared import Chosen, some, with_settings
from spectrakit.errors import INTERRUPTED, UsageError
from spectrakit.options import settings
from spectrakit.spec_files import all_settings, with_keywords
from spectrakit.wording import did_you_mean
from spectrakit.zoo.options import BatchOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spectrakit.options import Setting
    from spectrakit.spec import RunSpec
    from spectrakit.zoo.entries import Entry

#: What renders the pictures of a run, in its own process.
_DRAW = "spectrakit.report.drawing:draw_charts"
#: How a batch is run.
_HOW = settings(BatchOptions)

Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="LIST|PATTERN|FOLDER|MODEL...",
        help="A list of models (text, CSV, TOML), a pattern over the catalog such as '*mamba*', a "
        "folder of checkpoints, hf://AUTHOR, hf://collections/OWNER/SLUG, or models by name.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the batch. The same command again goes on where it was left.",
        show_default=False,
    ),
]
BatchFolderName = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="The --out of a batch.", show_default=False)
]


class _Unnamed(TyperCommand):
    """A command that is called by the name of its group."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  (typer's own types)
        """The line that says how it is called."""
        formatter.write_usage(ctx.parent.command_path, " ".join(self.collect_usage_pieces(ctx)))


class BatchGroup(TyperGroup):
    """`batch` itself runs one; `status` and `compact` are named."""

    #: The command that needs no name.
    unnamed = "run"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  (typer's types)
        """Put in the command that needs no name. Raises UsageError for a misspelt other one."""
        if not args or args[0] not in self.commands:
            meant = did_you_mean(args[0], self.commands) if len(args) == 2 else None
            if meant is not None and not args[1].startswith("-"):
                raise UsageError(f"batch has no command {args[0]!r}", hint=meant)
            args = [self.unnamed, *(args or ["--help"])]
        return list(super().parse_args(ctx, args))


def run(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    targets: Targets,
    out: Out,
    spec: options.SpecFile = None,
    *,
    batch: Chosen,
    output: Chosen,
    settings: Chosen,
    access: Chosen,
) -> None:
    """Analyse many models into one folder; the same command again goes on where it was left.

    Also: spectrakit batch status FOLDER; spectrakit batch compact FOLDER.

    Examples: spectrakit batch '*mamba*' --out zoo; spectrakit batch models.toml --out zoo --jobs 4
    """
    from spectrakit.cli import batch_shown
    from spectrakit.zoo.batch import Invocation, measure_batch, run_batch, summarise

    asked = BatchOptions(**_of(batch, _HOW).values)
    entries = _entries(targets, _base(spec, settings), _of(batch, FILTERS), access)
    shown = output.values
    hub = {name: value for name, value in access.values.items() if value}
    how = Invocation(
        hub={name: str(value) if name == "cache_dir" else value for name, value in hub.items()},
        draw=_DRAW if shown["figures"] else None,
        flags=True,
        command=shlex.join(["spectrakit", *sys.argv[1:]]),
    )
    if asked.dry_run:
        with watching() as watch:
            found, costs = measure_batch(entries, out, asked, how, watch)
        batch_shown.show_costs(found, costs, asked.models_at_once, json=shown["json"])
        return
    with watching() as watch, _going_on(watch):
        done = run_batch(entries, out, asked, how, watch)
        summary = summarise(done, _DRAW, watch)
    batch_shown.show_batch(done, summary, json=shown["json"])


@contextmanager
def _going_on(watch: Counting) -> Iterator[None]:
    """An interrupt in this block loses nothing that is done."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else error.code
        tell(f"interrupted after {watch.so_far()}; the same command goes on from there")
        raise typer.Exit(code) from None  # type: ignore[arg-type]


def status(folder: BatchFolderName, json: options.JsonOutput = False) -> None:
    """Show how a batch stands: what is finished, what is running, what failed and why."""
    from spectrakit.cli import batch_shown
    from spectrakit.zoo.folder import BatchFolder
    from spectrakit.zoo.status import batch_status

    batch_shown.show_status(batch_status(BatchFolder(folder)), json=json)


def compact(folder: BatchFolderName, json: options.JsonOutput = False) -> None:
    """Write each table of all runs into one file, FOLDER/compact/TABLE.parquet."""
    from spectrakit.cli import batch_shown
    from spectrakit.zoo.compact import compact as compact_runs
    from spectrakit.zoo.folder import BatchFolder

    BatchFolder(folder).require()
    batch_shown.show_files(compact_runs(folder, terminal_progress()), json=json)


def batch_app() -> typer.Typer:
    """The commands; a run's settings are options, but for the revision, which is each model's."""
    every = all_settings().values()
    app = typer.Typer(cls=BatchGroup, help="Many models, analysed into one folder.")
    runs = with_settings(
        run,
        batch=[*_HOW, *FILTERS],
        output=some(options.OUTPUT, "json", figures=False),
        settings=[setting for _, setting in every if setting.keyword != "revision"],
        access=options.ACCESS,
    )
    app.command(BatchGroup.unnamed, cls=_Unnamed, hidden=True)(runs)
    app.command("status")(status)
    app.command("compact")(compact)
    return app


def _of(chosen: Chosen, settings: Iterable[Setting]) -> Chosen:
    """What the user chose of these settings."""
    names = {setting.keyword for setting in settings}
    values, given = (
        {name: value for name, value in each.items() if name in names}
        for each in (chosen.values, chosen.given)
    )
    return Chosen(values, given)


def _entries(targets: list[str], base: RunSpec, filters: Chosen, access: Chosen) -> list[Entry]:
    """What is to be run; base: the settings of all."""
    from spectrakit.checkpoints.access import HubAccess
    from spectrakit.zoo.selection import select

    asked = access.values
    hub = HubAccess(asked["cache_dir"], asked["token"], asked["offline"] or None)
    given = catalog_filters(filters) if filters.given else None
    return select(targets, base, filters=given, access=hub)


def _base(file: Path | None, settings: Chosen) -> RunSpec:
    """The settings of all runs, without a model; words that mean nothing are refused."""
    from spectrakit.planning import check_for_many
    from spectrakit.spec_files import read_spec_file, spec_from

    record = {} if file is None else read_spec_file(file)[0]
    spec = spec_from({**record, "model": "", "revision": None}, file.name if file else "")
    spec = with_keywords(spec, settings.given)
    check_for_many(spec, settings.given)
    return spec
