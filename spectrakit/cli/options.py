"""Options that several commands share and that decide no number, spelt as `hf` spells them."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrakit.errors import UsageError
from spectrakit.options import Help, option, settings
from spectrakit.wording import as_flags, inspecting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectrakit.cli.declared import Chosen
    from spectrakit.model import Model
    from spectrakit.spec import RunSpec

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A Hub repository, a folder, a weight file, or a name from the catalog.",
        show_default=False,
    ),
]
Config = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="What the model's config does not say, or says wrongly; repeatable.",
        show_default=False,
    ),
]
SpecFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Settings from a TOML or JSON file, or from the run.json of a run, which is done "
        "again; options given beside it win.",
        show_default=False,
    ),
]
JsonOutput = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of tables.")
]


@dataclass(frozen=True)
class Access:
    """How the Hub is used."""

    cache_dir: Path | None = option(None, "Cache folder of the Hub.")
    token: str | None = option(None, "Access token; better: HF_TOKEN or `hf auth login`.")
    offline: bool = option(False, Help("Use the cache only.", negated=False))
    full_download: bool = option(
        False,
        Help("Download whole files into the cache instead of the tensors needed.", negated=False),
    )


@dataclass(frozen=True)
class Output:
    """Where a result goes, and how it is shown."""

    out: Path | None = option(None, Help("Run folder.", unset="spectrakit-runs/MODEL/SHA/MODE"))
    overwrite: bool = option(
        False, Help("Replace what --out holds of another model or settings.", negated=False)
    )
    figures: bool = option(True, "Draw the pictures too.")
    json: bool = option(False, Help("Print one JSON document instead of tables.", negated=False))


ACCESS, OUTPUT = settings(Access), settings(Output)
#: Where runs go that are not told otherwise.
RUNS = Path("spectrakit-runs")


@contextmanager
def open_model(spec: RunSpec, access: Chosen) -> Iterator[Model]:
    """The open model that `spec` names, with a progress bar.

    Errors within it that send the user to `inspect` do so by the name that was typed.
    """
    from spectrakit import model as models
    from spectrakit.cli.console import terminal_progress

    # Offline is what the environment says, unless it is asked for.
    asked = access.values | {"offline": access.values["offline"] or None}
    with (
        inspecting(spec.model, **spec.which, config=spec.config or None),
        models.open_model(spec, progress=terminal_progress(), **asked) as model,
    ):
        yield model


def typed(spec: RunSpec) -> str:
    """The model of `spec` as it is typed: its name and what says which model of it is meant."""
    asked = {**spec.which, "config": spec.config or None}
    said = {name: value for name, value in asked.items() if value is not None}
    return f"{shlex.quote(spec.model)} {as_flags(**said)}".rstrip()


def config_values(assignments: list[str] | None) -> dict[str, Any]:
    """KEY=VALUE as a config: a VALUE that is JSON is read as such, any other is a string.

    Raises UsageError for a setting without a key.
    """
    from spectrakit.catalog.assignments import values_of

    try:
        return values_of(assignments or [])
    except ValueError as error:
        raise UsageError(str(error), hint="--config disc=zoh") from error


_LONGEST = 1 << 30


def lengths(text: str) -> list[int]:
    """ "256,1024" as [256, 1024]. Raises UsageError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= _LONGEST for part in parts):
        message = f"{text!r} is not a number of tokens, nor a list of them"
        raise UsageError(message, hint="--seq-len 512, or --seq-len 256,1024,4096")
    return list(dict.fromkeys(int(part) for part in parts))


def numbers(text: str) -> list[int]:
    """ "0,5-7" as [0, 5, 6, 7]. Raises UsageError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            message = f"{text!r} is not a list of layers"
            raise UsageError(message, hint="--layers 0,5-7")
        first, last = int(low), int(high or low)
        if last < first or last > 100_000:
            message = f"{part.strip()!r} is not a range of layers"
            raise UsageError(message, hint="--layers 0,5-7")
        found += range(first, last + 1)
    return list(dict.fromkeys(found))
