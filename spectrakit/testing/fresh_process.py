"""What only a process of its own can tell: what is imported, and what a command does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from spectrakit.testing.require import require

#: None of them may a declaration import: they take longer than all of `--help` may.
_HEAVY = ("torch", "transformers", "numpy", "pyarrow", "altair", "scipy", "pandas")
_DECLARE = """
import json, sys
from spectrakit.plugins import plugins
plugins().analysis_kinds()
print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""


def imported_by_declaring(plugin: str) -> list[str]:
    """The heavy libraries that are imported once the analyses of an entry point are registered."""
    environment = {**os.environ, "SPECTRAKIT_LOAD_PLUGINS": plugin}
    code = _DECLARE.format(heavy=_HEAVY)
    found: list[str] = json.loads(_output([sys.executable, "-c", code], environment))
    return found


def run_command(*words: str | Path) -> None:
    """Run `spectrakit WORDS`. Raises CheckFailed, with what it said last, where it fails."""
    _output([sys.executable, "-m", "spectrakit", *map(str, words)], dict(os.environ))


def _output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(  # noqa: S603  (this interpreter, with words of ours)
        command, capture_output=True, text=True, env=environment, check=False
    )
    said = " ".join(done.stderr.split()[-60:])
    require(done.returncode == 0, f"exit code {done.returncode}: {said}")
    return done.stdout
