"""In what two runs were set otherwise: mode, precision, seed, options, and what was driven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.analyses.empirical_memory.driven import drive
from spectrakit.analyses.empirical_memory.tables import EMPIRICAL_MEMORY
from spectrakit.wording import named

if TYPE_CHECKING:
    from spectrakit.tables import Run

#: What changes no number (batches) or is shown by the tables themselves (analyses, domains). Files
#: count by their content; texts that differ are not compared at all.
_LEFT_OUT = frozenset(
    {"mode", "dtype", "analyses", "spectrum.domain", "batch_size", "text", "tokens", "tokenizer",
     "probe.prompt_file", "empirical_memory.drive"}
)  # fmt: skip
#: What only a forward pass follows.
_OF_DATA_MODE = frozenset({"seq_len", "max_tokens", "bos", "chat_template", "gauge"})


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
    settings = manifest.settings()
    found: dict[str, object] = {"mode": manifest.mode, "dtype": manifest.dtype}
    for name, value in settings.items():
        if name in _LEFT_OUT or (name in _OF_DATA_MODE and manifest.mode == "weights"):
            continue
        found[name] = value
    if manifest.mode == "data":
        found["tokenizer"] = settings.get("tokenizer") or "the model's own"
    if "prompt_file" in manifest.contents:
        found["prompt file"] = settings.get("probe.prompt_file")
    if EMPIRICAL_MEMORY.name in run.tables:
        found["drive"] = drive(run.table(EMPIRICAL_MEMORY.name).to_pylist())
    return found


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
