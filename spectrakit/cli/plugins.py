"""`spectrakit plugins`."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectrakit.cli import options
from spectrakit.cli.console import print_data, print_json, tell

if TYPE_CHECKING:
    from spectrakit.testing import Result

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


@app.command("new")
def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case words: my-layer.")],
    out: Annotated[
        Path, typer.Option(help="Folder to write it into.", show_default="here")
    ] = Path(),
    json: options.JsonOutput = False,
) -> None:
    """Write a new plugin that works, to be changed into your own.

    Example: spectrakit plugins new my-layer
    """
    from spectrakit.plugin_template import Words, write_plugin

    written = write_plugin(name, out)
    if json:
        print_json({"files": [str(path) for path in written]})
        return
    for path in written:
        print_data(str(path))
    words = Words(name)
    tell(f"try: pip install -e {out / words.distribution}")
    tell(f"     spectrakit plugins check {words.distribution}")


@app.command("check")
def check_plugins(
    plugin: Annotated[
        str, typer.Argument(metavar="PLUGIN", help="A distribution, or a name from plugins list.")
    ],
    json: options.JsonOutput = False,
) -> None:
    """Run the conformance checks on a plugin's examples; exit code 1 where one fails.

    Example: spectrakit plugins check spectrakit-my-layer
    """
    from spectrakit.testing.plugin_checks import check_plugin

    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no result
        results = list(check_plugin(plugin))
    failed = sum(not result.ok for result in results)
    if json:
        rows = [{**asdict(result), "ok": result.ok} for result in results]
        print_json({"plugin": plugin, "ok": not failed, "results": rows})
    else:
        _print(results)
        tell(f"{len(results)} checks, {failed} failed" if failed else f"{len(results)} checks, ok")
    if failed:
        raise typer.Exit(1)


def _print(results: list[Result]) -> None:
    from rich.table import Table

    table = Table("check", "subject", "result", "reason", box=None)
    for result in results:
        table.add_row(result.check, result.subject, result.outcome, result.reason)
    print_data(table)
