"""In what two runs were set otherwise: mode, precision, seed, options, and what was driven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.report.summaries import drive
from spectrakit.tables.empirical_memory_schema import EMPIRICAL_MEMORY

if TYPE_CHECKING:
    from spectrakit.tables import Run

#: What changes no number (batches), what the tables themselves show (analyses, domains), and
#: remarks on the models.
_LEFT_OUT = (
    "analyses", "domains", "batch_size", "text", "text_sha256", "tokenizer_sha256",
    "empirical_memory", "equations", "unknown_config_keys", "initial",
)  # fmt: skip


def other_settings(first: Run, other: Run) -> str:
    """The settings that both runs have and that differ, as "mode weights and data; ..."; or "".

    A setting of one run alone (the length of sequences, of a run that read none) is left out.
    """
    own, theirs = _settings(first), _settings(other)
    return "; ".join(
        f"{name.replace('_', '-')} {_said(own[name])} and {_said(theirs[name])}"
        for name in own
        if name in theirs and own[name] != theirs[name]
    )


def _settings(run: Run) -> dict[str, object]:
    manifest = run.manifest
    found: dict[str, object] = {
        "mode": manifest.mode,
        "dtype": manifest.dtype,
        "seed": manifest.seed,
    }
    for name, set_to in manifest.options.items():
        if name in _LEFT_OUT:
            continue
        if isinstance(set_to, dict) and name != "config":  # the options of one analysis
            found |= {f"{name} {key}": value for key, value in set_to.items()}
        else:
            found[name] = set_to
    if EMPIRICAL_MEMORY.name in run.tables:
        found["drive"] = drive(run.table(EMPIRICAL_MEMORY.name).to_pylist())
    return found


def _said(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_said(entry)}" for name, entry in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
