"""`spectrakit train RECIPE`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectrakit.cli.console import print_json, tell
from spectrakit.cli.declared import Chosen
from spectrakit.errors import INTERRUPTED, SpectrakitError, UsageError
from spectrakit.options import Help, Options, option, settings

if TYPE_CHECKING:
    from spectrakit.training.recipes.schema import Recipe
    from spectrakit.training.run import TrainingResult

#: Where runs go that name no folder.
_RUNS = Path("spectrakit-runs") / "training"

RecipeName = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe by name (see --list), a TOML file, or the folder of a training run.",
        show_default=False,
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the recipe, --set model.width=128; repeatable.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class _How(Options):
    """Where a run goes, what it runs on, and what is shown instead of running it."""

    out: Path | None = option(
        None,
        Help(
            "Folder of the run. The same command again goes on where it was left.",
            metavar="FOLDER",
            unset=f"{_RUNS}/RECIPE",
        ),
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:1, ...")
    threads: int | None = option(
        None, Help("Threads of torch on the CPU.", unset="its own number"), at_least=1
    )
    restart: bool = option(
        False, Help("Begin anew, in the place of the run in the folder.", negated=False)
    )
    dry_run: bool = option(
        False, Help("Say what it would take: parameters, tokens, memory, time.", negated=False)
    )
    list: bool = option(
        False, Help("List the recipes that ship; RECIPE filters by name.", negated=False)
    )
    schema: bool = option(
        False,
        Help(
            "Print the JSON Schema of recipes, or of the options of the mixer or task RECIPE.",
            negated=False,
        ),
    )
    json: bool = option(False, Help("Print one JSON document instead of tables.", negated=False))


HOW = settings(_How)


def train(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    recipe: RecipeName = None,
    changes: Changes = None,
    *,
    how: Chosen,
) -> None:
    """Train a model by a recipe, and watch its spectra while it learns.

    Examples: spectrakit train digits; spectrakit train tiny/mqar-mamba2 --set seed=1 --out run
    """
    asked = _How(**how.values)
    if asked.schema:
        from spectrakit.training.configured import schema_of

        print_json(schema_of(recipe))
        return
    if asked.list:
        _list(recipe, as_json=asked.json)
        return
    if recipe is None:
        hint = "spectrakit train digits, or spectrakit train --list"
        raise UsageError("no recipe is named", hint=hint)
    from spectrakit.training.recipes.files import read_recipe

    found = read_recipe(recipe, changes or [])
    if asked.dry_run:
        _estimate(found, asked.device, as_json=asked.json)
        return
    from spectrakit.training.processes import is_first

    if is_first():
        _show(_trained(found, asked.out or _default(recipe), asked), as_json=asked.json)
    else:
        _beside(found, asked.out or _default(recipe), asked)


def _default(recipe: str) -> Path:
    """A run's own folder, or one that is called as the recipe."""
    path = Path(recipe)
    return path if path.is_dir() else _RUNS / path.stem if path.is_file() else _RUNS / recipe


def _trained(recipe: Recipe, out: Path, asked: _How) -> TrainingResult:
    from spectrakit.cli.training_progress import progress
    from spectrakit.training.run import Where, train

    where = Where(out, asked.device, asked.threads, asked.restart)
    try:
        return train(recipe, where, progress())
    except KeyboardInterrupt:
        tell(f"interrupted: saved in {out}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from None


def _beside(recipe: Recipe, out: Path, asked: _How) -> None:
    """One process of several: the first tells what there is to tell, errors too."""
    from spectrakit.training.run import Where, train

    try:
        train(recipe, Where(out, asked.device, asked.threads, asked.restart))
    except SpectrakitError as error:
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _draw(folder: Path) -> None:
    """The picture, as files; a run without any row has none."""
    from contextlib import suppress

    from spectrakit.errors import AnalysisError
    from spectrakit.report.figures import render_all
    from spectrakit.tables.folders import plain_errors
    from spectrakit.training.reading import read_training

    with suppress(AnalysisError), plain_errors(folder):
        drawn = render_all(read_training(folder).chart(), "png", "svg")
        for kind, content in drawn.items():
            (folder / f"training.{kind}").write_bytes(content)


def _list(words: str | None, *, as_json: bool) -> None:
    from spectrakit.cli.console import print_data
    from spectrakit.display.plain_tables import plain_table
    from spectrakit.training.recipes.files import read_recipe, recipe_names

    rows: list[tuple[str, ...]] = []
    for name in recipe_names():
        if words is None or words in name:
            found = read_recipe(name)
            rows.append((name, found.task.name, found.kind, found.description))
    if not rows:
        raise UsageError(f"no recipe has {words!r} in its name", hint="spectrakit train --list")
    head = ("recipe", "task", "mixer", "description")
    if as_json:
        print_json({"recipes": [dict(zip(head, row, strict=True)) for row in rows]})
        return
    print_data(plain_table(head, rows))


def _estimate(recipe: Recipe, device: str, *, as_json: bool) -> None:
    from spectrakit.cli.console import format_bytes, print_data
    from spectrakit.training.estimate import estimate

    found = estimate(recipe, device)
    if as_json:
        print_json(found.record())
        return
    lines = [
        f"parameters   {found.parameters:,} ({found.recurrence_parameters:,} of recurrences)",
        f"steps        {found.steps:,} of {recipe.budget.batch} examples",
        f"tokens       {found.tokens:,}",
        f"memory       {format_bytes(found.memory_bytes)} (with gradients, moments, activations)",
        f"time         {_duration(found.seconds)} on {found.device}, by {found.timed} timed steps",
    ]
    print_data("\n".join(lines))


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def _show(result: TrainingResult, *, as_json: bool) -> None:
    from spectrakit.cli.console import print_data
    from spectrakit.training.outcome import outcome

    shown = outcome(result)
    _draw(result.folder)
    if as_json:
        print_json(shown.record())
        return
    if result.resumed_at == result.step:
        tell(f"{result.folder} holds this run already, finished")
    print_data(shown.table())
    tell(f"\n{shown.sentence()}")
    for line in shown.places():
        tell(line)
