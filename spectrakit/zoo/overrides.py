"""The settings of the command line with those that a list has for a model put over them.

Most models of a list share their settings, so each combination is made and checked once, and is one
object however many models have it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrakit.options import Options
from spectrakit.options import settings as settings_of
from spectrakit.planning import check_named
from spectrakit.plugins import plugins
from spectrakit.spec_files import spec_from, with_keywords
from spectrakit.token_options import STANDARD_INPUT, TokenOptions
from spectrakit.zoo.listed import Settings

if TYPE_CHECKING:
    from spectrakit.spec import RunSpec

#: A spec needs a model to be made, and the models come later.
_ANY = "model"


class Overrides:
    """Makes the settings of a list's models."""

    def __init__(self, base: RunSpec) -> None:
        """base: the settings of the command line."""
        self.base = Settings(base)
        self._record = base.record()
        self._made: dict[tuple[str, Path], Settings] = {}
        self._specs = {_digest(base): base}

    def of_keywords(self, keywords: Mapping[str, Any], folder: Path) -> Settings:
        """Settings by the names that `analyze` knows them by: `seq_len=128`.

        folder: where relative paths begin. Raises UsageError, as `with_keywords` and `check_named`
        do.
        """
        key = _text(keywords), folder
        if keywords and key not in self._made:
            placed = {name: _placed(name, value, folder) for name, value in keywords.items()}
            self._made[key] = self._settings(with_keywords(self.base.spec, placed), key[0])
        return self._made[key] if keywords else self.base

    def of_record(self, record: Mapping[str, Any], folder: Path, where: str) -> Settings:
        """Settings by the keys of a spec file, without a model: `{"source": {"seq_len": 128}}`.

        folder: where relative paths begin. where: what the keys are in, for messages. Raises
        UsageError, as `spec_from` and `check_named` do.
        """
        key = _text(record), folder
        if record and key not in self._made:
            spec = self.check_record(record, folder, where)
            self._made[key] = self._settings(spec, key[0])
        return self._made[key] if record else self.base

    def check_record(self, record: Mapping[str, Any], folder: Path, where: str) -> RunSpec:
        """The same as a spec that may leave something open: an option before its analysis."""
        found = merged(self._record, _with_paths(record, folder)) | {"model": _ANY}
        return replace(spec_from(found, where), model=self.base.spec.model)

    def _settings(self, spec: RunSpec, own: str) -> Settings:
        """With the spec that was made before and says the same, or else `spec`, once checked."""
        digest = _digest(spec)
        if digest not in self._specs:
            check_named(spec)
            self._specs[digest] = spec
        return Settings(self._specs[digest], own)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values of both, those of `over` first; tables key by key."""
    found = dict(under)
    for key, value in over.items():
        before = found.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = merged(before, value)
        found[key] = value
    return found


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def _digest(spec: RunSpec) -> bytes:
    return hashlib.sha256(_text(spec.record()).encode()).digest()


def _with_paths(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`record` with its paths as they are found from anywhere.

    What is no table of settings is left as it is, for `spec_from` to refuse.
    """
    found = dict(record)
    if "source" in found:
        found["source"] = _group(found["source"], TokenOptions, folder)
    if isinstance(found.get("options"), Mapping):
        known = plugins().option_groups()
        found["options"] = {
            name: _group(group, known[name], folder) if name in known else group
            for name, group in found["options"].items()
        }
    return found


def _group(values: Any, kind: type[Options], folder: Path) -> Any:  # noqa: ANN401
    if not isinstance(values, Mapping):
        return values
    declared = {setting.name: setting for setting in settings_of(kind)}
    return {
        name: _placed(declared[name].keyword, value, folder, declared[name].type)
        if name in declared
        else value
        for name, value in values.items()
    }


def _placed(keyword: str, value: Any, folder: Path, kind: Any = None) -> Any:  # noqa: ANN401
    """A setting's value; where it is a path, as it is found from anywhere.

    kind: the setting's type, where the value may have another one yet.
    """
    if isinstance(value, Path) or (kind is Path and isinstance(value, str)):
        return folder / value
    if not isinstance(value, str) or keyword not in ("text", "tokenizer"):
        return value
    path = os.path.join(folder, value)  # noqa: PTH118  (a text, which may be no path at all)
    # A tokenizer may be a repository, or "bytes"; a text is a file, or standard input.
    is_path = os.path.exists(path) if keyword == "tokenizer" else value != STANDARD_INPUT  # noqa: PTH110
    return path if is_path else value
