"""The trainer in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spectrakit.training.recipes.schema import Recipe
    from spectrakit.training.report import Watcher
    from spectrakit.training.run import TrainingResult


def read_recipe(name: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name ("digits", "tiny/mqar-mamba2"), file, or folder of a training run.

    changes: values of dotted keys, {"model.width": 128}.

    Raises UsageError for a recipe that is none, or a key or value that is none.
    """
    from spectrakit.training.recipes.files import read_recipe as read

    return read(name, changes or {})


def train(
    recipe: Recipe | str | Path,
    out: Path | str,
    *,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int | None = None,
    restart: bool = False,
    watcher: Watcher | None = None,
) -> TrainingResult:
    """Train a model by a recipe, into the folder `out`; called again, it goes on where it was left.

    recipe: what `read_recipe` takes or gives. changes: of its keys. threads: of torch, for this
    process. restart: begin anew, in the place of the run in the folder. watcher: told of each step.

    Raises what `spectrakit.training.run.train` raises.
    """
    from spectrakit.training.recipes.files import validated
    from spectrakit.training.run import Where
    from spectrakit.training.run import train as run

    if isinstance(recipe, str | Path):
        recipe = read_recipe(recipe, changes)
    elif changes:
        from spectrakit.training.recipes.files import changed

        recipe = validated(changed(recipe.record(), changes))
    return run(recipe, Where(Path(out), device, threads, restart), watcher)
