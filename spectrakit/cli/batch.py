"""`spectrakit batch LIST|PATTERN|FOLDER ... --out D`, `batch status D`, `batch compact D`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from spectrakit.cli import options
from spectrakit.cli.batch_progress import watching
from spectrakit.cli.declared import Chosen

#: What renders the pictures of a run, in its own process.
_DRAW = "spectrakit.report.drawing:draw_charts"
_RUN = "run"

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
    Path, typer.Argument(metavar="FOLDER", help="Of a batch, its --out.", show_default=False)
]


class BatchGroup(TyperGroup):
    """`batch` itself runs one; `status` and `compact` are named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  (typer's types)
        """Put the command in that needs no name."""
        if not args or args[0] not in self.commands:
            args = [_RUN, *(args or ["--help"])]
        return list(super().parse_args(ctx, args))


def batch(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    targets: Targets,
    out: Out,
    spec: options.SpecFile = None,
    *,
    batch: Chosen,
    filters: Chosen,
    figures: Annotated[bool, typer.Option("--figures", help="Draw the pictures of runs.")] = False,
    json: options.JsonOutput = False,
    settings: Chosen,
    access: Chosen,
) -> None:
    """Analyse many models into one folder; the same command again goes on where it was left.

    Also: spectrakit batch status FOLDER; spectrakit batch compact FOLDER.

    Examples: spectrakit batch '*mamba*' --out zoo; spectrakit batch models.toml --out zoo --jobs 4
    """
    from spectrakit.zoo.batch import Hows, measure_batch, run_batch
    from spectrakit.zoo.options import BatchOptions

    how = BatchOptions(**batch.values)
    entries = _entries(targets, spec, settings, filters, access)
    hows = Hows(
        hub=_hub(access),
        draw=_DRAW if figures else None,
        flags=True,
        command=shlex.join(["spectrakit", *sys.argv[1:]]),
    )
    with watching() as watch:
        if how.dry_run:
            found, costs = measure_batch(entries, out, how, hows, watch)
        else:
            done = run_batch(entries, out, how, hows, watch)
    if how.dry_run:
        from spectrakit.cli.batch_shown import show_costs

        show_costs(found, costs, json=json)
        return
    _show(done, json=json)
