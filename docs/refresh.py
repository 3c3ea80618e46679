"""Runs what the documentation shows, and puts what really comes out in place of what it says.

    python docs/refresh.py            # rewrites the pages: `make docs`
    python docs/refresh.py --check    # says which pages are out of date

Fenced blocks of a page are taken in order, in one scratch folder for the page:

    console        the lines after each `$ command` become what the command prints
    python         is run; all such blocks of a page are one program
    text           right below a python block: becomes what that block printed
    LANGUAGE FILE  is written to FILE in the scratch folder

Every other block is left as it is. Commands run without the network, without colours, on a
terminal of a fixed width, and must succeed. The last digits of float32 are not the same on every
processor: a page that agrees with what comes out within the tolerance of `docs/shown.py` is up to
date, and not rewritten.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # as a script, it stands in docs/

from docs.shown import differences  # noqa: E402

WIDTH = 100

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


class StaleError(Exception):
    """A block could not be brought up to date: what it shows does not run."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it stands for ("" for none), and its lines."""

    language: str
    file: str
    body: str

    @classmethod
    def of(cls, match: re.Match[str]) -> Block:
        """The block a match of the fence pattern holds."""
        language, _, file = match["info"].strip().partition(" ")
        return cls(language, file.strip(), match["body"])


def pages() -> list[Path]:
    """Every page whose blocks are run: all but the one that comes from the schemas."""
    written = sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "tables.md"})
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *written]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block.of(match) for match in _FENCE.finditer(text)]


def refresh(text: str, scratch: Path) -> str:
    """`text` with the outputs that its blocks have now.

    Raises StaleError where a command or a program fails.
    """
    runner = _Runner(scratch)
    return _FENCE.sub(runner.replace, text)


@dataclass
class _Runner:
    """Takes a page's blocks one by one."""

    scratch: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__page__"})
    printed: str | None = None

    def replace(self, match: re.Match[str]) -> str:
        """The block as it should be."""
        block = Block.of(match)
        printed, self.printed = self.printed, None
        body = block.body
        if block.file:
            (self.scratch / block.file).write_text(body, encoding="utf-8")
        elif block.language == "console":
            body = self._commands(body)
        elif block.language == "python":
            self.printed = self._program(body)
        elif block.language == "text" and printed is not None:
            body = printed
        return f"```{match['info']}\n{body}```"

    def _commands(self, body: str) -> str:
        commands = [line for line in body.splitlines() if line.startswith("$ ")]
        return "".join(f"{line}\n{self._command(line.removeprefix('$ '))}" for line in commands)

    def _command(self, command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.scratch,
            env=_environment(self.scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StaleError(f"`{command}` left with {done.returncode}:\n{done.stdout}")
        return _tidy(done.stdout)

    def _program(self, body: str) -> str:
        printed = io.StringIO()
        with contextlib.chdir(self.scratch), contextlib.redirect_stdout(printed):
            try:
                exec(compile(body, "<page>", "exec"), self.names)
            except Exception as error:
                raise StaleError(f"{type(error).__name__}: {error}, in\n{body}") from error
        return _tidy(printed.getvalue())


def _tidy(output: str) -> str:
    """`output` without blanks at the ends of lines and without empty lines around it."""
    lines = [line.rstrip() for line in output.splitlines()]
    text = "\n".join(lines).strip("\n")
    return f"{text}\n" if text else ""


def _environment(scratch: Path) -> dict[str, str]:
    """What commands see: this Python's own scripts, and nothing of the user's settings."""
    packages = scratch / ".packages"  # where a page's `pip install` puts a plugin
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "HOME": str(scratch),
        "LANG": "C.UTF-8",
        "COLUMNS": str(WIDTH),
        "NO_COLOR": "1",
        "TERM": "dumb",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(packages),
        "HF_HUB_OFFLINE": "1",
        # Of all plugins that may be installed here, only those that docs/plugins.md makes.
        "SPECTRAKIT_LOAD_PLUGINS": "demo,leaky,marked,slowest",
        "PIP_TARGET": str(packages),
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one the other way round: no isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }


def main() -> int:
    """Rewrite the pages, or with --check list those that would change."""
    parser = argparse.ArgumentParser(description="Bring the documentation's outputs up to date.")
    parser.add_argument("--check", action="store_true", help="change nothing, report stale pages")
    parser.add_argument("page", nargs="*", type=Path, help="pages; all where none is given")
    arguments = parser.parse_args()
    stale = 0
    for page in arguments.page or pages():
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as scratch:
            fresh = refresh(text, Path(scratch))
        if not differences(str(page), text, fresh):
            continue
        stale += 1
        print(f"{page}: {'out of date' if arguments.check else 'refreshed'}")
        if not arguments.check:
            page.write_text(fresh, encoding="utf-8")
    return stale if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
