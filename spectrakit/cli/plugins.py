"""`spectrakit plugins`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from spectrakit.cli import options
from spectrakit.cli.console import print_data, print_json

app = typer.Typer(no_args_is_help=True, help="What is installed that spectrakit can use.")


@app.callback()
def _plugins() -> None:
    """What is installed that spectrakit can use."""


@app.command("list")
def list_plugins(json: options.JsonOutput = False) -> None:
    """List plugins with what they provide, and why one could not be loaded."""
    from rich.table import Table

    from spectrakit.plugins import plugins

    found = plugins().register().plugins
    if json:
        print_json({"plugins": [asdict(plugin) for plugin in found]})
        return
    table = Table("plugin", "distribution", "version", "provides", "error", box=None)
    for plugin in found:
        table.add_row(
            plugin.name,
            plugin.distribution,
            plugin.version,
            ", ".join(plugin.provides),
            plugin.error or "",
        )
    print_data(table)
