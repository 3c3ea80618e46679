"""`spectrakit catalog verify` and `add`: the commands that ask a Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrakit.cli import options
from spectrakit.cli.catalog_filters import catalog_filters
from spectrakit.cli.console import (
    print_data,
    print_json,
    tell,
    terminal_progress,
)
from spectrakit.cli.declared import Chosen
from spectrakit.errors import INTERRUPTED, BatchFailures, NetworkError

if TYPE_CHECKING:
    from spectrakit.checkpoints.access import HubAccess
    from spectrakit.verification import Verified

Record = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="FOLDER",
        help="The catalog to write to, of a source tree say; your own if not given.",
        show_default=False,
    ),
]


def verify(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names or repositories, with * and ? as in a shell; all if not given.",
            show_default=False,
        ),
    ] = None,
    record: Record = None,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Record other headers than before as the right ones."),
    ] = False,
    json: options.JsonOutput = False,
    *,
    filters: Chosen,
    access: Chosen,
) -> None:
    """Ask the Hub for models of the catalog, compare, and record what was seen and when.

    Reads a small part of each: what the Hub says, the config, the headers of the weight files.
    """
    from spectrakit.catalog import own_folder
    from spectrakit.catalog.filters import selected
    from spectrakit.verification import verify as verified

    entries = selected(names or [], catalog_filters(filters))
    into = record or own_folder()
    done: list[Verified] = []
    silent: NetworkError | None = None
    try:
        with terminal_progress().task("verifying", total=len(entries), unit="models") as task:
            for each in verified(entries, _access(access), into=into, accept=accept):
                done.append(each)
                task.advance(1)
                if not json:
                    print_data(_line(each))
    except NetworkError as error:
        silent = error
    except KeyboardInterrupt:
        tell(f"interrupted: {len(done)} of {len(entries)} verified, and recorded in {into}")
        raise typer.Exit(INTERRUPTED) from None
    if json:
        print_json({"verified": [_document(each) for each in done], "recorded_in": str(into)})
    if silent is not None:
        raise silent
    _raise_for(done)


def add(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    repo: Annotated[
        str,
        typer.Argument(
            help="A Hub repository, or a weight file of one: ORG/NAME/FILE.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="What it is called; the repository's own name if not given."),
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="One line; its layers and size if not given.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Where it has none of its own, the repository of one."),
    ] = None,
    config: options.Config = None,
    record: Record = None,
    *,
    access: Chosen,
) -> None:
    """Add a model of the Hub to your catalog, with what the Hub and its headers say of it."""
    from spectrakit.catalog import own_folder
    from spectrakit.verification import Told
    from spectrakit.verification import add as added

    options.config_values(config)
    told = Told(name, description, tokenizer, tuple(config or ()))
    into = record or own_folder()
    done = added(repo, _access(access), into=into, told=told, own=record is None)
    print_data(f"{done.entry.name}: {done.entry.description}")
    tell(f"added to {done.path}; spectrakit analyze {done.entry.name}")


def _access(chosen: Chosen) -> HubAccess:
    from spectrakit.checkpoints.access import HubAccess

    return HubAccess(chosen.values["cache_dir"], chosen.values["token"])


def _line(each: Verified) -> str:
    """One entry, in a line; a problem more is a line more."""
    from spectrakit.catalog.sizes import size_of

    start = f"{each.status:<10}  {each.entry.name}"
    if each.problems:
        return "\n".join(f"{start}: {problem}" for problem in each.problems)
    if each.sight is None or each.sight.record.headers is None:
        return f"{start}: it is gated, and its headers were not read"
    seen = each.sight.record
    commit = "" if seen.commit is None else f" at {seen.commit[:12]}"
    layers = f"{seen.layers} layers of {', '.join(seen.kinds)}"
    return f"{start}{commit}: {layers}, {size_of(seen.parameters or 0)} parameters"


def _document(each: Verified) -> dict[str, Any]:
    from dataclasses import asdict

    sight = each.sight
    return {
        "name": each.entry.name,
        "status": each.status,
        "problems": list(each.problems),
        "seen": None if sight is None else asdict(sight.record),
        "bytes_read": None if sight is None else sight.bytes_read,
        "file_bytes": None if sight is None else sight.file_bytes,
    }


def _raise_for(done: list[Verified]) -> None:
    failed = sum(each.status == "failed" for each in done)
    unanswered = sum(each.status == "unanswered" for each in done)
    if not failed and not unanswered:
        return
    counted = [f"{failed} of {len(done)} not as the catalog says"] if failed else []
    counted += [f"{unanswered} of {len(done)} not answered for"] if unanswered else []
    first = next(each.entry.name for each in done if each.status != "ok")
    raise BatchFailures(", ".join(counted), hint=f"spectrakit catalog show {first}")
