"""`spectrakit train RECIPE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectrakit.cli.console import print_json, tell
from spectrakit.errors import INTERRUPTED, UsageError

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
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help=f"Folder of the run; {_RUNS}/RECIPE if left out. The same command again goes on where "
        "it was left.",
        show_default=False,
    ),
]
Changes = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the recipe: --set model.width=128 --set budget.steps=500.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads of torch on the CPU; its own number if left out.",
                 show_default=False),
]  # fmt: skip
Restart = Annotated[
    bool, typer.Option("--restart", help="Begin anew, in the place of the run in the folder.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what it would take: parameters, tokens, memory, time."),
]
List = Annotated[
    bool, typer.Option("--list", help="List the recipes that ship; RECIPE filters their names.")
]
Schema = Annotated[
    bool, typer.Option("--schema", help="Print the JSON Schema of recipes, for editors.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def train(
    recipe: RecipeName = None,
    *,
    out: Out = None,
    changes: Changes = [],  # noqa: B006  (typer wants a list, and makes a new one)
    device: Device = "auto",
    threads: Threads = None,
    restart: Restart = False,
    dry_run: DryRun = False,
    list_: List = False,
    schema: Schema = False,
    json: Json = False,
) -> None:
    """Train a model by a recipe, and watch its spectra while it learns.

    Examples: spectrakit train digits; spectrakit train tiny/mqar-mamba2 --set seed=1 --out run
    """
    if schema:
        from spectrakit.training.recipes.schema import Recipe as Described

        print_json(Described.model_json_schema())
        return
    if list_:
        _list(recipe, as_json=json)
        return
    if recipe is None:
        hint = "spectrakit train digits, or spectrakit train --list"
        raise UsageError("no recipe is named", hint=hint)
    from spectrakit.training.recipes.files import read_recipe

    found = read_recipe(recipe, changes)
    if dry_run:
        _estimate(found, device, as_json=json)
        return
    where = (out or _default(recipe), device, threads, restart)
    _show(_trained(found, where), as_json=json)


def _default(recipe: str) -> Path:
    """A run's own folder, or one that is called as the recipe."""
    path = Path(recipe)
    return path if path.is_dir() else _RUNS / path.stem if path.is_file() else _RUNS / recipe


def _trained(recipe: Recipe, where: tuple[Path, str, int | None, bool]) -> TrainingResult:
    from spectrakit.cli.training_progress import progress
    from spectrakit.training.run import Where, train

    try:
        return train(recipe, Where(*where), progress())
    except KeyboardInterrupt:
        tell(f"interrupted: saved in {where[0]}; the same command goes on from there")
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
            rows.append((name, found.task.name, found.mixer.name, found.description))
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
