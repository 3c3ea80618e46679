"""A plugin may add commands to the command line, under new names, and change nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


@contextmanager
def only_added_to(app: typer.Typer) -> Iterator[None]:
    """Put `app` back as it was where what happens inside fails, or did more than add to it.

    Raises ValueError in the second case.
    """
    commands, groups = list(app.registered_commands), list(app.registered_groups)
    callback = app.registered_callback
    try:
        yield
        kept = (
            app.registered_commands[: len(commands)] == commands
            and app.registered_groups[: len(groups)] == groups
            and app.registered_callback is callback
        )
        if not kept:
            message = "its register_commands changes what others have registered"
            raise ValueError(message)
        _check_names(app)
    except BaseException:
        app.registered_commands, app.registered_groups = commands, groups
        app.registered_callback = callback
        raise


def _check_names(app: typer.Typer) -> None:
    names = [_name(command) for command in app.registered_commands]
    names += [_name(group) for group in app.registered_groups]
    taken = sorted({name for name in names if names.count(name) > 1})
    if taken:
        message = f"the command {', '.join(taken)} is already there"
        raise ValueError(message)


def _name(info: typer.models.CommandInfo | typer.models.TyperInfo) -> str:
    """As typer makes it, where none is given."""
    if info.name:
        return info.name
    return getattr(info.callback, "__name__", "").lower().replace("_", "-")
