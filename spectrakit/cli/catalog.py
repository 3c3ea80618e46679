"""`spectrakit catalog`: what is known by name, and what a Hub has of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrakit.cli import catalog_hub, options
from spectrakit.cli.catalog_filters import FILTERS, catalog_filters
from spectrakit.cli.console import format_bytes, print_data, print_json, tell
from spectrakit.cli.declared import Chosen, some, with_settings
from spectrakit.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from spectrakit.catalog import CatalogEntry

app = typer.Typer(no_args_is_help=True, help="Models that spectrakit knows by name.")


@app.callback()
def _catalog() -> None:
    """Models that spectrakit knows by name."""


def list_models(
    context: typer.Context,  # noqa: ARG001  (what was given is read from it)
    pattern: Annotated[
        str | None,
        typer.Argument(
            help="Names or repositories, with * and ? as in a shell; in quotes.",
            show_default=False,
        ),
    ] = None,
    json: options.JsonOutput = False,
    *,
    filters: Chosen,
) -> None:
    """List the models of the catalog: those bundled, those on the Hub, and your own."""
    from spectrakit.catalog.filters import selected

    found = selected([] if pattern is None else [pattern], catalog_filters(filters))
    if json:
        print_json({"models": [_document(entry) for entry in found]})
        return
    if not found:
        tell("no model of the catalog is like that")
        return
    print_data(_table(found))
    never = sum(_checked(entry) == "never" for entry in found)
    if never:
        tell(f"{never} of {len(found)} never verified; spectrakit catalog verify asks the Hub")


def show(
    name: Annotated[str, typer.Argument(help="A name or a repository.", show_default=False)],
    json: options.JsonOutput = False,
) -> None:
    """Show what is said of one model, who says it, and when it was verified."""
    from spectrakit.catalog.filters import selected

    entry, *others = selected([name])
    if others:
        message = f"{name!r} is {len(others) + 1} models, and one is shown"
        raise UsageError(message, hint=f"spectrakit catalog list {shlex.quote(name)}")
    if json:
        print_json(_document(entry))
        return
    width = max(len(label) for label, _ in _lines(entry))
    lines = (f"  {label:{width}}  {text}" for label, text in _lines(entry))
    print_data("\n".join((entry.name, *lines)))


def _table(found: Sequence[CatalogEntry]) -> Table:
    from rich.table import Table

    from spectrakit.catalog.sizes import size_of

    table = Table("name", "repository", "size", "gated", "verified", box=None)
    for column in table.columns[:2]:
        column.overflow = "fold"  # a name that is cut short cannot be typed
    for entry in found:
        table.add_row(
            entry.name,
            entry.repo or "bundled",
            "?" if entry.parameters is None else size_of(entry.parameters),
            _yes_no(entry.gated),
            _checked(entry),
        )
    return table


def _yes_no(value: bool | None) -> str:
    return {None: "?", True: "yes", False: "no"}[value]


def _checked(entry: CatalogEntry) -> str:
    """The day on which a Hub was asked, for the table."""
    from spectrakit.catalog.records import record_of

    record = record_of(entry)
    if record is None:
        return "never" if entry.repo else "-"
    day = record.checked.partition("T")[0]
    return f"{day}, failed" if record.problems else day


def _lines(entry: CatalogEntry) -> Iterator[tuple[str, str]]:
    yield "what", entry.description
    yield "family", entry.family
    yield "repository", entry.repo or "none: it ships with spectrakit"
    if entry.file is not None:
        yield "file", entry.file
    if entry.config:
        yield "config", " ".join(entry.config)
    optional = {
        "format": entry.format,
        "parameters": None if entry.parameters is None else f"{entry.parameters:,}",
        "licence": entry.license,
        "gated": None if entry.gated is None else _yes_no(entry.gated),
    }
    for label, text in optional.items():
        yield label, text or "not known"
    yield "tokenizer", entry.tokenizer or "its own"
    if entry.weights_bytes is not None:
        yield "weights mode", f"reads {format_bytes(entry.weights_bytes)}"
    if entry.smallest:
        yield "smallest", "of the public models of its family"
    if entry.counterpart_of:
        yield "counterpart of", f"{', '.join(entry.counterpart_of)}: comparable data"
    if entry.page:
        yield "named by", entry.page + (f" ({entry.page_note})" if entry.page_note else "")
    if entry.own:
        yield "added by", "you"
    if entry.repo:
        yield from _record_lines(entry)


def _record_lines(entry: CatalogEntry) -> Iterator[tuple[str, str]]:
    from spectrakit.catalog.records import record_of

    record = record_of(entry)
    if record is None:
        yield "verified", f"never; spectrakit catalog verify {entry.name}"
        return
    yield "verified", f"{record.checked} at {record.endpoint}"
    for problem in record.problems:
        yield "problem", problem
    if record.commit is not None:
        yield "commit", record.commit
    if record.headers is not None:
        yield "headers", f"{record.headers}, {record.layers} layers of {', '.join(record.kinds)}"


def _document(entry: CatalogEntry) -> dict[str, Any]:
    from dataclasses import asdict

    from spectrakit.catalog.records import record_of

    record = record_of(entry)
    return asdict(entry) | {"record": None if record is None else asdict(record)}


_HUB = some(options.ACCESS, "cache_dir", "token")
app.command("list")(with_settings(list_models, filters=FILTERS))
app.command("show")(show)
app.command("verify")(with_settings(catalog_hub.verify, filters=FILTERS, access=_HUB))
app.command("add")(with_settings(catalog_hub.add, access=_HUB))
