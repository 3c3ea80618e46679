"""What a run was: the model, the plugin that read it, the versions, the command, the files.

`run.json` holds a `Manifest`; the metadata of every Parquet file holds the part of it that does
not change from one run of the same command to the next. No access token gets into either.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from spectrakit.errors import MalformedError, scrub
from spectrakit.tables.columns import SCHEMA_VERSION
from spectrakit.tables.migrations import migrated

_RECORDED = ("spectrakit", "torch", "transformers", "pyarrow")
_TOKEN_OPTION = re.compile(r"(--token[= ])\S+")


def installed_versions() -> dict[str, str]:
    """The versions of the distributions that shape a result, without importing them."""
    return {distribution: _version_of(distribution) for distribution in _RECORDED}


@cache
def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def without_token(command: str) -> str:
    """A command line, fit for the record."""
    return _TOKEN_OPTION.sub(r"\1***", scrub(command))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class WrittenFile:
    """A file of a run as it was when the run was finished."""

    file: str
    bytes: int
    sha256: str
    rows: int | None = None
    """Rows of a table; None for a picture or another file."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a run was. Every text in it is scrubbed of access tokens as it is made."""

    model_id: str
    revision: str
    mode: str
    """weights or data: where the recurrences came from."""
    source: str = ""
    """Where the checkpoint was read: a URL, a cache entry, a folder."""
    architecture: str = ""
    plugin: str = ""
    """The distribution that provided the architecture."""
    plugin_version: str = ""
    device: str = "cpu"
    dtype: str = "float32"
    seed: int | None = None
    command: str = ""
    """The command line, or "" from Python."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Everything that was asked for, as JSON values: of an analysis its `RunSpec`."""
    key: str = ""
    """Of a batch: what it knows the run again by, when it is taken up again; else ""."""
    contents: Mapping[str, str | None] = field(default_factory=dict)
    """The SHA-256 of files that were read besides the model's, by the setting that names them."""
    remarks: Mapping[str, Any] = field(default_factory=dict)
    """What to know of the model: whose equations, unknown config keys, how weights were drawn."""
    versions: Mapping[str, str] = field(default_factory=installed_versions)
    tokens: int | None = None
    """Tokens that the model was run on, without padding; None where no text was read."""
    sequences: int | None = None
    """Sequences that those tokens were in."""
    warnings: Sequence[str] = ()
    """What to know before using the numbers: statistics of too few tokens, and the like."""
    created_at: str = field(default_factory=_now)
    schema_version: int = SCHEMA_VERSION
    tables: Mapping[str, WrittenFile] = field(default_factory=dict)
    files: Mapping[str, WrittenFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (f.name for f in dataclasses.fields(self)):
            object.__setattr__(self, name, _scrubbed(getattr(self, name)))
        object.__setattr__(self, "command", without_token(self.command))

    def settings(self) -> dict[str, Any]:
        """Every setting of the run's numbers by its name: `seed`, `seq_len`, `memory.horizon`.

        Which model it is and where it was computed are none. Files are there by their paths.
        """
        found: dict[str, Any] = {}
        for name, value in self.spec.items():
            if name == "source" and isinstance(value, Mapping):
                found |= value
            elif name == "options" and isinstance(value, Mapping):
                for group, options in value.items():
                    found |= {f"{group}.{key}": entry for key, entry in options.items()}
            elif name not in ("model", "revision", "file", "subfolder", "device"):
                found[name] = value
        return found

    def file_metadata(self) -> dict[str, str]:
        """The key-value metadata of each Parquet file: text only, the same for every re-run."""
        plain = {
            "schema_version": str(self.schema_version),
            "model_id": self.model_id,
            "revision": self.revision,
            "mode": self.mode,
            "source": self.source,
            "architecture": self.architecture,
            "plugin": self.plugin,
            "plugin_version": self.plugin_version,
            "device": self.device,
            "dtype": self.dtype,
            "seed": "" if self.seed is None else str(self.seed),
            "command": self.command,
            "spec": json.dumps(self.spec, sort_keys=True),
            "contents": json.dumps(self.contents, sort_keys=True),
        }
        versions = {f"{name}_version": found for name, found in self.versions.items()}
        return {
            # Names of files need not be UTF-8, text in Parquet does.
            f"spectrakit.{key}": value.encode("utf-8", "backslashreplace").decode()
            for key, value in {**plain, **versions}.items()
        }

    def to_json(self) -> str:
        """The text of `run.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            MalformedError: not a manifest, or written by a newer spectrakit.
        """
        try:
            record = json.loads(text)
            newer = int(record["schema_version"])
        except (ValueError, TypeError, KeyError) as error:
            raise MalformedError(f"not a run manifest: {error}") from error
        if newer > SCHEMA_VERSION:
            raise MalformedError(
                f"the tables have schema version {newer}; this spectrakit reads up to "
                f"{SCHEMA_VERSION}",
                hint="pip install --upgrade spectrakit",
            )
        record = migrated(record, SCHEMA_VERSION)
        try:
            for kind in ("tables", "files"):
                record[kind] = {k: WrittenFile(**v) for k, v in record[kind].items()}
            manifest = cls(**record)
        except (TypeError, AttributeError, KeyError) as error:
            raise MalformedError(f"not a run manifest: {error}") from error
        _check_types(manifest)
        for written in (*manifest.tables.values(), *manifest.files.values()):
            _check_types(written)
        return manifest


@dataclass(frozen=True)
class Recorded:
    """What is known of a run when its tables are finished: see the `Manifest`'s fields."""

    tokens: int | None = None
    sequences: int | None = None
    warnings: Sequence[str] = ()

    def into(self, manifest: Manifest) -> Manifest:
        """`manifest` with this in it."""
        return dataclasses.replace(
            manifest, tokens=self.tokens, sequences=self.sequences, warnings=list(self.warnings)
        )


def _check_types(record: Manifest | WrittenFile) -> None:
    """Raise MalformedError where JSON put another type in place of a text or a number."""
    for entry in dataclasses.fields(record):
        kind = {"str": str, "int": int}.get(str(entry.type), object)
        if not isinstance(getattr(record, entry.name), kind):
            raise MalformedError(f"not a run manifest: {entry.name!r} must be {entry.type}")


def _scrubbed(value: Any) -> Any:  # noqa: ANN401  (a JSON value)
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return {_scrubbed(key): _scrubbed(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scrubbed(entry) for entry in value]
    return value
