"""What `spectrakit plugins new` writes: a plugin that works, to be changed piece by piece.

The files lie beside this one, with `.template` after their names; `$name` and its like in them
stand for the words of `Words`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from spectrakit._version import __version__
from spectrakit.errors import OutputError, UsageError
from spectrakit.hookspecs import SPEC_VERSION
from spectrakit.wording import per_door

_SUFFIX = ".template"
#: A folder of the template that is called as the new package.
_PACKAGE = "package"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)
_LONGEST = 40


@dataclass(frozen=True)
class Words:
    """What a plugin's name is called in different places."""

    name: str

    def __post_init__(self) -> None:
        """Raises UsageError for a name that cannot be all of them."""
        if not _NAME.fullmatch(self.name) or len(self.name) > _LONGEST:
            message = f"{self.name!r} is not a name for a plugin"
            raise UsageError(message, hint="lower-case words of letters and digits: my-layer")

    @property
    def distribution(self) -> str:
        """Of the distribution and of the folder: spectrakit-my-layer."""
        return f"spectrakit-{self.name}"

    @property
    def package(self) -> str:
        """Of the Python package: spectrakit_my_layer."""
        return self.distribution.replace("-", "_")

    @property
    def kind(self) -> str:
        """Of the mixer: my_layer."""
        return self.name.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Of the mixer's class: MyLayer."""
        return "".join(word.capitalize() for word in self.name.split("-"))

    def fill(self, text: str) -> str:
        """`text` with these words in it."""
        return Template(text).substitute(
            name=self.name,
            distribution=self.distribution,
            package=self.package,
            kind=self.kind,
            Class=self.class_name,
            spectrakit_version=__version__,
            spec_version=str(SPEC_VERSION),
        )


def write_plugin(name: str, parent: Path) -> list[Path]:
    """Write a plugin called `name` into a new folder of `parent`; the files that were written.

    Raises UsageError for a name that is none, OutputError where the folder exists or cannot be
    written.
    """
    words = Words(name)
    folder = parent / words.distribution
    elsewhere = f"another folder with {per_door('--out', 'parent')}"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        message = f"{folder} is there already"
        raise OutputError(message, hint=f"another name, or {elsewhere}") from None
    except OSError as error:
        message = f"cannot make the folder {folder}: {error.strerror}"
        raise OutputError(message, hint=elsewhere) from error
    return list(_write(files(__package__), folder, words))


def _write(template: Traversable, folder: Path, words: Words) -> list[Path]:
    written = []
    for source in sorted(template.iterdir(), key=lambda entry: entry.name):
        if source.is_dir() and source.name != "__pycache__":
            inner = folder / (words.package if source.name == _PACKAGE else source.name)
            inner.mkdir()
            written += _write(source, inner, words)
        elif source.name.endswith(_SUFFIX):
            path = folder / source.name.removesuffix(_SUFFIX)
            path.write_text(words.fill(source.read_text(encoding="utf-8")), encoding="utf-8")
            written.append(path)
    return written
