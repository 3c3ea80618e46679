"""In what two runs were set otherwise: mode, precision, seed, options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spectrakit.options import Rule, settings
from spectrakit.spec import RunSpec
from spectrakit.token_options import TokenOptions
from spectrakit.wording import named

if TYPE_CHECKING:
    from spectrakit.tables import Run

_SETTINGS = {
    setting.name: setting for kind in (RunSpec, TokenOptions) for setting in settings(kind)
}


def other_settings(first: Run, other: Run) -> str:
    """The settings that both runs have and that differ, as "mode weights and data; ..."; or "".

    A setting of one run alone (the options of an analysis that only it has, the length of sequences
    where the other read none) is left out.
    """
    own, theirs = _settings(first), _settings(other)
    return "; ".join(
        f"{_called(name)} {_said(own[name])} and {_said(theirs[name])}"
        for name in own
        if name in theirs and own[name] != theirs[name]
    )


def _settings(run: Run) -> dict[str, object]:
    manifest = run.manifest
    found: dict[str, object] = {"mode": manifest.mode, "dtype": manifest.dtype}
    for name, value in manifest.settings().items():
        rule = _SETTINGS[name].rule if name in _SETTINGS else None  # of an analysis
        if name in found or (rule is not None and not _is_said(rule, manifest.mode)):
            continue
        content = manifest.contents.get(name)
        if value is None and name == "tokenizer":  # each model's own, and not its content
            value = "the model's own"
        elif isinstance(value, str) and content is not None:
            value = f"{Path(value).name} ({content[:8]})"
        found[name] = value
    return found


def _is_said(rule: Rule, mode: str) -> bool:
    """Whether a setting is one of the numbers of a run in this mode."""
    return rule.compared and not (rule.data_mode and mode == "weights")


def _called(name: str) -> str:
    """A setting as its command calls it; `memory.horizon` as a spec file does."""
    return name if "." in name or " " in name else named(name).removeprefix("--")


def _said(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_said(entry)}" for name, entry in value.items()) or "none"
    if isinstance(value, list):
        return ",".join(map(_said, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
