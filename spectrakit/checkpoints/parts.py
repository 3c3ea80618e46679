"""Which model of a repository or folder is meant: one of its files, or one in a folder of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.errors import UsageError
from spectrakit.wording import given, named

if TYPE_CHECKING:
    from collections.abc import Iterable

#: In front of what is of the Hub, whatever is on this disk.
HUB_SCHEME = "hf://"


@dataclass(frozen=True)
class Part:
    """The settings `file` and `subfolder`: paths in a repository or folder, with slashes.

    file: of a weight file, in `subfolder` where there is one. Neither: the whole.
    """

    file: str | None = None
    subfolder: str | None = None

    @classmethod
    def of(cls, file: str | None, subfolder: str | None) -> Part:
        """Raises UsageError for a path that leads elsewhere."""
        return cls(_inner(file, "file"), _inner(subfolder, "subfolder"))

    @property
    def path(self) -> str | None:
        """The path of the file, or of the folder."""
        if self.subfolder is None or self.file is None:
            return self.file or self.subfolder
        return f"{self.subfolder}/{self.file}"

    @property
    def folder(self) -> str:
        """The path of the folder that it is, or that the file lies in; empty at the top."""
        path = self.path or ""
        return path if self.file is None else path.rpartition("/")[0]

    @property
    def name(self) -> str | None:
        """The name of the file."""
        return None if self.file is None else self.file.rpartition("/")[2]

    def within(self, name: str) -> str:
        """What this part of `name` is called."""
        return name if self.path is None else f"{name}/{self.path}"


#: All of a repository or folder.
WHOLE = Part()


def plain_name(name: str) -> str:
    """`name` if it names a file of the folder itself, never a path that leads elsewhere.

    Raises `ValueError` otherwise: separators of any system, drive letters, `.` and `..`, and what
    cannot be printed.
    """
    bare = name.strip() == name and name.isprintable() and not set(name) & set("/\\:")
    if not bare or name in {"", ".", ".."}:
        raise ValueError(f"{name!r} is not a plain file name")
    return name


def plain_path(text: str) -> str:
    """`text`, a path inside a folder, without slashes at its end.

    Raises `ValueError` where it leads elsewhere.
    """
    return "/".join(map(plain_name, text.rstrip("/").split("/")))


def folders_around(folder: str) -> list[str]:
    """The folders that the path `folder` lies in, the innermost first; "" is the top.

    >>> folders_around("a/b")
    ['a', '']
    """
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:count]) for count in reversed(range(len(parts)))]


def missing(label: str, part: Part, names: Iterable[str]) -> UsageError:
    """The error for a part that is not there; names: of files, with their folders."""
    path = part.path or ""
    names = list(names)
    if part.file is not None and any(name.startswith(f"{path}/") for name in names):
        message = f"{path} of {label} is a folder, not a file"
        return UsageError(message, hint=given(subfolder=path))
    if part.file is None and path in names:
        message = f"{path} of {label} is a file, not a folder"
        return UsageError(message, hint=given(file=path))
    what = "file" if part.file is not None else "folder"
    there = [name for name in names if "/" in name] if part.file is None else names
    kept = dict.fromkeys(name.rpartition("/")[0] if part.file is None else name for name in there)
    shown = ", ".join(list(kept)[:4]) + (", ..." if len(kept) > 4 else "")
    return UsageError(f"{label} has no {what} {path!r}" + (f", but {shown}" if shown else ""))


def _inner(text: str | None, setting: str) -> str | None:
    if text is None:
        return None
    try:
        return plain_path(text)
    except ValueError as error:
        message = f"{named(setting)} {text!r} is no path inside the model's folder: {error}"
        raise UsageError(message) from error
