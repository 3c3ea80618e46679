"""What a plugin may provide. Register it under the entry-point group `spectrakit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from spectrakit.analyses.kind import AnalysisKind
    from spectrakit.architectures import Architecture
    from spectrakit.mixers import Mixer
    from spectrakit.prompt_sets import PromptSet
    from spectrakit.testing.examples import Example
    from spectrakit.training.data.base import Task

#: Raised when a hook or a protocol changes in a way that old plugins do not survive. A plugin that
#: sets `SPEC_VERSION` is refused by a host of another version, with both numbers in the message. A
#: new hook or argument, or a new member that plugins need not have, is no such change. What this
#: version has is in tests/snapshots.
SPEC_VERSION = 2

hookspec = pluggy.HookspecMarker("spectrakit")
hookimpl = pluggy.HookimplMarker("spectrakit")


@hookspec
def register_architectures(register: Callable[[Architecture], None]) -> None:
    """Call `register(architecture)` for each checkpoint family this plugin can read."""


@hookspec
def register_mixers(register: Callable[[type[Mixer]], None]) -> None:
    """Call `register(mixer_class)` for each kind of sequence layer this plugin knows."""


@hookspec
def register_analyses(register: Callable[[AnalysisKind], None]) -> None:
    """Call `register(kind)` with the `AnalysisKind` of each analysis this plugin offers."""


@hookspec
def register_prompt_sets(register: Callable[[type[PromptSet]], None]) -> None:
    """Call `register(prompt_set_class)` for each set of prompts that `probe` can put to a model."""


@hookspec
def register_tasks(register: Callable[[type[Task]], None]) -> None:
    """Call `register(task_class)` for each task that `train` can set a model."""


@hookspec
def register_examples(register: Callable[[Example], None]) -> None:
    """Call `register(example)` with what `spectrakit plugins check` is to hold this plugin to."""


@hookspec
def register_commands(app: typer.Typer) -> None:
    """Add commands to the command line with `@app.command()`."""
