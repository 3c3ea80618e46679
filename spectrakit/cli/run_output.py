"""A finished run, as `spectrakit analyze` shows it: tables in the terminal, or one document."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from spectrakit.cli.console import format_bytes, print_data, tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spectrakit.tables import Run


def show_run(run: Run, moved: int) -> None:
    """Print what it found, and say what was read: `moved` bytes in all."""
    from spectrakit.display.numbers import text_read
    from spectrakit.report.terminal import run_report

    print_data(run_report(run))
    print_data("")
    for line in _drawn_anew(run.manifest.remarks.get("initial", {})):
        tell(line)
    tensors = sum(run.table("layers")["bytes_read"].to_pylist())
    text = text_read(run.manifest.tokens, run.manifest.sequences)
    tell(
        f"read {format_bytes(tensors)} of these layers' tensors "
        f"({format_bytes(moved)} with headers and the model's fingerprint)"
        f"{f' and {text}' if text else ''}; wrote {run.folder}"
    )


def _drawn_anew(initial: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """How each kind of layer was drawn; `initial` is that of `run.json`."""
    said = {
        "published": "as published in {source}: {draws}",
        "library": "as its own library draws it, {source}",
        "class": "as its class in transformers draws it",
    }
    for kind, record in initial.items():
        yield f"{kind} drawn anew {said[record['scheme']].format(**record)}"


def run_document(run: Run) -> dict[str, Any]:
    """The run as JSON values."""
    manifest, folder = run.manifest, run.folder
    assert folder is not None  # noqa: S101  (the command always writes one)
    return {
        "schema_version": manifest.schema_version,
        "model_id": manifest.model_id,
        "revision": manifest.revision,
        "mode": manifest.mode,
        "tokens": manifest.tokens,
        "sequences": manifest.sequences,
        "warnings": list(manifest.warnings),
        "initial": manifest.remarks.get("initial"),
        "folder": str(folder),
        "tables": {name: str(folder / t.file) for name, t in manifest.tables.items()},
        "figures": [str(folder / file.file) for file in manifest.files.values()],
        "layers": _layers(run),
    }


def _layers(run: Run) -> list[dict[str, Any]]:
    """Each layer's row, with the summary of its spectrum in each domain, in the gauge shown."""
    from spectrakit.tables.summaries import layer_summaries

    layers = {row["layer"]: row | {"spectrum": {}} for row in run.table("layers").to_pylist()}
    for row in layer_summaries(run):
        summary = {name: _finite(row[name]) for name in row if name not in _NOT_SHOWN}
        layers[row["layer"]]["spectrum"][row["domain"]] = summary
    return list(layers.values())


_NOT_SHOWN = frozenset({"model_id", "revision", "layer", "head", "domain"})


def _finite(value: Any) -> Any:  # noqa: ANN401  (a cell of a table)
    """JSON has no infinity: a timescale that never ends is null."""
    return None if isinstance(value, float) and math.isinf(value) else value
