"""One model of a batch, and the name that its run goes by.

A name is one component of a path on any system, and read back by DuckDB, Polars and pyarrow as
nothing but a name: they take `*` and brackets in a path for a pattern, `KEY=VALUE` for a partition,
and pass over what begins with a dot or an underscore.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.plain import plain

if TYPE_CHECKING:
    from spectrakit.spec import RunSpec

#: A file system has 255 bytes for a name; a batch adds to it.
LONGEST_NAME = 120
_ALLOWED = frozenset("._-@+")
#: What Windows takes for a device, with any extension.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of a batch: what is run, and what its run is called.

    name: unique in the batch, in lower and upper case alike, and fit for a folder: see `safe_name`.
    """

    name: str
    spec: RunSpec


def entry_name(model: str, revision: str | None = None, suffix: str = "") -> str:
    """What the run of a model is called: `org--name`, or `org--name@revision`.

    model: a catalog name, a repository, or a path as far as it tells models apart. Of a commit's
    sha twelve digits are shown. suffix: what the name ends with.
    """
    if revision is None:
        return safe_name(model, suffix)
    shown = revision[:12] if _SHA.fullmatch(revision) else revision
    return safe_name(f"{model}@{shown}", suffix)


def safe_name(text: str, suffix: str = "") -> str:
    """`text` as a name of at most `LONGEST_NAME` bytes that ends with `suffix`.

    Slashes become "--". What is neither a letter, a digit nor one of `. _ - @ +` becomes "_", and
    no name begins with one of those marks. Where it is cut, eight digits of its hash stand for the
    rest.
    """
    joined = plain(unicodedata.normalize("NFC", text.replace("/", "--").replace("\\", "--")))
    name = "".join(each if each.isalnum() or each in _ALLOWED else "_" for each in joined)
    name = name.lstrip("._-@+").rstrip(".") or "model"
    if _DEVICES.match(name):
        name = f"model-{name}"
    if len((name + suffix).encode()) > LONGEST_NAME:
        suffix = f"-{short_hash(text)}{suffix}"
        name = _cut(name, LONGEST_NAME - len(suffix.encode()))
    return name + suffix


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that `text` decides."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def same_name(name: str) -> str:
    """What two names share that a file system may take for one: case and composition aside."""
    return unicodedata.normalize("NFC", name.casefold())


def _cut(name: str, most_bytes: int) -> str:
    return name.encode()[:most_bytes].decode("utf-8", "ignore")
