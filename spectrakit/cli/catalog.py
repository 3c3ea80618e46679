"""`spectrakit catalog`."""

from __future__ import annotations

import typer

from spectrakit.cli import options
from spectrakit.cli.console import print_data, print_json

app = typer.Typer(no_args_is_help=True, help="Models that spectrakit knows by name.")


@app.callback()
def _catalog() -> None:
    """Models that spectrakit knows by name."""


@app.command("list")
def list_models(json: options.JsonOutput = False) -> None:
    """List the models of the catalog: those bundled, and those on the Hub."""
    from rich.table import Table

    from spectrakit import catalog

    entries = catalog.entries()
    if json:
        print_json(
            {
                "models": [
                    {
                        "name": entry.name,
                        "source": entry.source,
                        "description": entry.description,
                        "tokenizer": entry.tokenizer,
                        "license": entry.license,
                    }
                    for entry in entries
                ]
            }
        )
        return
    table = Table("name", "where", "what", box=None)
    for column in table.columns[:2]:
        column.overflow = "fold"  # a name that is cut short cannot be typed
    for entry in entries:
        where = "bundled" if entry.folder is not None else entry.source
        table.add_row(entry.name, where, entry.description)
    print_data(table)
