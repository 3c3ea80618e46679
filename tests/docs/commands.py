"""The command line as the documentation may speak of it: which commands and options there are."""

from __future__ import annotations

import re
import shlex
from functools import cache

import typer

from spectrakit.cli.app import build_app


@cache
def root():
    return typer.main.get_command(build_app())


def all_commands(command=None, name="spectrakit"):
    """Every command with its full name: `spectrakit`, `spectrakit analyze`, ..."""
    command = command or root()
    yield name, command
    for sub, below in getattr(command, "commands", {}).items():
        if below.hidden:  # shown by its group's name
            continue
        yield from all_commands(below, f"{name} {sub}")


def find(words):
    """The command that `words` (after `spectrakit`) lead to, and the words that are left."""
    command, rest = root(), list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    unnamed = getattr(
        command, "unnamed", None
    )  # the command that a group is without another's name
    return (command.commands[unnamed] if unnamed else command), rest


def unknown(line):
    """What `line`, a command or a mention of one, names that does not exist; None if nothing."""
    words = shlex.split(line)[1:]
    command, rest = find(words)
    if hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        return rest[0]
    options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    options |= {"--help"}
    named = [word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)]
    return next((word for word in named if word not in options), None)


def parse(line):
    """Parse `line` as the command line would, without running it. Raises what typer raises."""
    words = shlex.split(line, comments=True)[1:]
    command, rest = find(words)
    if "--help" not in rest and not hasattr(command, "commands"):
        command.make_context("spectrakit", rest)
