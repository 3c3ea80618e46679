"""The application: its commands, and what an error looks like to the user."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from spectrakit._version import __version__
from spectrakit.cli import (
    analyze,
    batch,
    catalog,
    compare,
    extract,
    inspect,
    memory,
    options,
    plugins,
    train,
)
from spectrakit.cli.console import show_notes, tell
from spectrakit.cli.declared import some, with_settings
from spectrakit.errors import INTERRUPTED, SpectrakitError, exit_codes
from spectrakit.options import settings
from spectrakit.spec import WHICH, RunSpec
from spectrakit.wording import speaking_flags

#: The exit code after a signal, as shells have it: this and its number.
_SIGNALLED = 128
#: typer's own ways out of a command: leaving, and every class that a bad parameter belongs to.
_WAYS_OUT: tuple[type[BaseException], ...] = (
    typer.Exit,
    typer.Abort,
    *(base for base in typer.BadParameter.__mro__ if base.__module__.startswith("typer")),
)
_INTERRUPTED_LINE = "interrupted: nothing was written"


class _Group(TyperGroup):
    """Runs a command and turns every exception into one line and an exit code."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  (typer's own types are private)
        """Its own options and typer's, whose flags are off where they are not given.

        Left at None they would be made bools by pydantic, which takes as long to import as all that
        `--help` needs.
        """
        params: list[Any] = super().get_params(ctx)
        for param in params:
            if param.default is None and getattr(param, "is_flag", False):
                param.default = False
        return params

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  (typer's own types are private)
        try:
            with speaking_flags():
                result = super().invoke(ctx)
            sys.stdout.flush()  # a reader who has left is noticed here
            return result
        except _WAYS_OUT:
            raise
        except SpectrakitError as error:
            self._fail(f"error: {error}", error.exit_code)
        except KeyboardInterrupt:
            self._fail(_INTERRUPTED_LINE, INTERRUPTED)
        except MemoryError:
            self._fail("error: out of memory\n  try: a smaller --batch-size or --seq-len", 1)
        except BrokenPipeError:
            # The reader of our output left (`| head`): there is nobody to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            self._fail(f"error: {error.strerror or error}", 1)
        except Exception as error:  # noqa: BLE001  (whatever it is, one line and no traceback)
            first_line = str(error).strip().partition("\n")[0]
            whose = f"this is a bug of {_owner(error)}; SPECTRAKIT_DEBUG=1 shows where"
            self._fail(f"error: {type(error).__name__}: {first_line}\n  {whose}", 1)

    @staticmethod
    def _fail(message: str, code: int) -> None:
        if os.environ.get("SPECTRAKIT_DEBUG"):
            tell(traceback.format_exc())
        tell(message)
        raise typer.Exit(code) from None


def _owner(error: Exception) -> str:
    """The distribution of the plugin whose code it went through last, or spectrakit."""
    from spectrakit.plugins import plugins as all_plugins

    return all_plugins().distribution_of(error) or "spectrakit"


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"spectrakit {__version__}\n")
        raise typer.Exit


def build_app() -> typer.Typer:
    """The application with spectrakit's own commands and those of plugins."""
    codes = (f"{code} {means}" for code, means in exit_codes().items())
    app = typer.Typer(
        cls=_Group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Eigenvalue spectra and memory of sequence models, read from pretrained checkpoints.",
        epilog=f"Exit codes: {', '.join(codes)}.",
    )

    @app.callback()
    def spectrakit(
        version: Annotated[  # noqa: ARG001  (its callback does the work)
            bool,
            typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
        ] = False,
    ) -> None:
        show_notes()

    for command in _commands():
        app.command(command.__name__)(command)
    app.add_typer(batch.batch_app(), name="batch")
    app.add_typer(catalog.app, name="catalog")
    app.add_typer(plugins.app, name="plugins")

    from spectrakit.plugins import plugins as all_plugins

    all_plugins().add_commands(app)
    return app


def _commands() -> Iterator[Callable[..., None]]:
    """spectrakit's own, with the options that settings declare."""
    access, output = options.ACCESS, options.OUTPUT
    own = some(access, "cache_dir", "token", "offline")
    yield with_settings(
        analyze.analyze, settings=analyze.settings_of_runs(), output=output, access=access
    )
    which = some(settings(RunSpec), *WHICH)
    yield with_settings(inspect.inspect, which=which, access=own)
    yield with_settings(
        extract.extract,
        settings=extract.settings_of_extraction(),
        output=extract.output_of_extraction(),
        access=own,
    )
    yield with_settings(
        compare.compare,
        settings=compare.settings_of_comparison(),
        output=compare.output_of_comparison(),
        access=own,
    )
    yield with_settings(train.train, how=train.HOW)
    yield with_settings(
        memory.memory, settings=memory.settings_of_memory(), output=memory.output_of_memory()
    )


def _terminated(number: int, _: object) -> None:
    raise SystemExit(_SIGNALLED + number)


def main() -> None:
    """Entry point of the `spectrakit` command."""
    for name in ("SIGTERM", "SIGHUP"):  # so that what is half-written is cleaned up
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _terminated)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Greek still gets its table
    # Arrow's own allocator keeps tens of MB for the few that a run's tables take.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        build_app()()
    except KeyboardInterrupt:  # before a command began
        sys.stderr.write(f"{_INTERRUPTED_LINE}\n")
        sys.exit(INTERRUPTED)
