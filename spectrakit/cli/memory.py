"""`spectrakit memory`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrakit.cli import options
from spectrakit.cli.console import print_data, print_json, tell, terminal_progress
from spectrakit.cli.declared import Chosen, called, some
from spectrakit.errors import UsageError

if TYPE_CHECKING:
    from spectrakit.options import Setting
    from spectrakit.tables import Run

#: The sets that arXiv 2510.00563 compares in its first figure.
_COMPARED = "s4d-inv,s4d-lin,random,lin,step"


def memory(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    preset: Annotated[
        str,
        typer.Option(
            help="Sets of eigenvalues: s4d-lin, s4d-inv, s4d-quad, s4d-real, legs, lru, random, "
            "lin, step (the last three approximate)."
        ),
    ] = _COMPARED,
    n: Annotated[int, typer.Option("--n", help="N, real state dimensions.")] = 32,
    dt: Annotated[
        str, typer.Option(help="Steps of sets in continuous time (zero-order hold).")
    ] = "1e-3,1e-2,1e-1",
    *,
    settings: Chosen,
    output: Chosen,
) -> None:
    """Compute what the eigenvalues of an initialisation remember, without a checkpoint.

    For the memory of a model: spectrakit analyze MODEL --analyses memory

    Example: spectrakit memory --preset s4d-lin,legs --n 64 --dt 1e-3,1e-2
    """
    from rich.console import Group

    from spectrakit.analyses.memory.eigenvalue_set_view import set_summaries, view
    from spectrakit.analyses.memory.options import MemoryOptions
    from spectrakit.eigenvalue_memory import eigenvalue_memory
    from spectrakit.output import Destination
    from spectrakit.report.drawing import draw_charts

    shown = options.Output(**output.values)
    names = [name.strip() for name in preset.split(",")]
    run = eigenvalue_memory(
        names,
        n,
        _steps(dt),
        MemoryOptions(horizon=settings.values["horizon"], past=settings.values["past"]),
        seed=settings.values["seed"],
        to=Destination(
            out=shown.out or Path(f"memory-{'-'.join(names)}-n{n}"),
            overwrite=shown.overwrite or shown.out is None,
            draw=draw_charts if shown.figures else None,
            command=shlex.join(["spectrakit", *sys.argv[1:]]),
        ),
        progress=terminal_progress(),
    )
    if shown.json:
        print_json(_document(run))
        return
    print_data(Group(*view(run)))
    for row in run.table("layers").to_pylist():
        if row["reason"]:
            tell(f"note: {row['path']}: {row['reason']}")
    for row in set_summaries(run):
        if row["reason"]:
            tell(f"note: {row['name']}: {row['reason']}")
    tell(f"wrote {run.folder}")


def settings_of_memory() -> list[Setting]:
    """The settings of runs that sets of eigenvalues have too."""
    from spectrakit.analyses.memory.options import MemoryOptions
    from spectrakit.options import settings
    from spectrakit.spec import RunSpec

    return [*some(settings(MemoryOptions), "horizon", "past"), *some(settings(RunSpec), "seed")]


def output_of_memory() -> list[Setting]:
    """Where the run goes, and how it is shown."""
    out, *others = options.OUTPUT
    return [called(out, "Run folder to write.", "memory-PRESET-N"), *others]


def _steps(text: str) -> list[float]:
    """ "1e-3,1e-2" as numbers. Raises UsageError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        message = f"{text!r} is not a list of steps"
        raise UsageError(message, hint="--dt 1e-3,1e-2,1e-1") from None


_SHOWN = ("name", "precision", "rank", "capacity", "capacity_within", "delay_50", "delay_90",
          "last_delay_0p5", "last_delay_0p01", "mean_delay")  # fmt: skip


def _document(run: Run) -> dict[str, Any]:
    from spectrakit.analyses.memory.eigenvalue_set_view import set_summaries

    assert run.folder is not None  # noqa: S101  (the command always writes one)
    return {
        "schema_version": run.manifest.schema_version,
        "folder": str(run.folder),
        "tables": {name: str(run.folder / t.file) for name, t in run.manifest.tables.items()},
        "figures": [str(run.folder / file.file) for file in run.manifest.files.values()],
        "memory": [{name: row[name] for name in _SHOWN} for row in set_summaries(run)],
    }
