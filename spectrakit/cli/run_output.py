"""A finished run, as `spectrakit analyze` shows it: tables in the terminal, or one document."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from spectrakit.cli.console import format_bytes, print_data, tell

if TYPE_CHECKING:
    from spectrakit.tables import Run


def show_run(run: Run, moved: int) -> None:
    """Print what it found, and say what was read: `moved` bytes in all."""
    from spectrakit.report import companions_report, spectrum_report

    print_data(spectrum_report(run))
    print_data(companions_report(run))
    tensors = sum(run.table("layers")["bytes_read"].to_pylist())
    tell(
        f"read {format_bytes(tensors)} of these layers' tensors "
        f"({format_bytes(moved)} with headers and the model's fingerprint); wrote {run.folder}"
    )


def run_document(run: Run) -> dict[str, Any]:
    """The run as JSON values."""
    manifest, folder = run.manifest, run.folder
    assert folder is not None  # noqa: S101  (the command always writes one)
    return {
        "schema_version": manifest.schema_version,
        "model_id": manifest.model_id,
        "revision": manifest.revision,
        "mode": manifest.mode,
        "folder": str(folder),
        "tables": {name: str(folder / t.file) for name, t in manifest.tables.items()},
        "figures": [str(folder / file.file) for file in manifest.files.values()],
        "layers": _layers(run),
    }


def _layers(run: Run) -> list[dict[str, Any]]:
    """Each layer's row, with the summary of its spectrum in each domain."""
    layers = {row["layer"]: row | {"spectrum": {}} for row in run.table("layers").to_pylist()}
    if "spectrum_summary" in run.tables:
        for row in run.table("spectrum_summary").to_pylist():
            if row["head"] is None:
                summary = {name: _finite(row[name]) for name in row if name not in _NOT_SHOWN}
                layers[row["layer"]]["spectrum"][row["domain"]] = summary
    return list(layers.values())


_NOT_SHOWN = frozenset({"model_id", "revision", "layer", "head", "domain"})


def _finite(value: Any) -> Any:  # noqa: ANN401  (a cell of a table)
    """JSON has no infinity: a timescale that never ends is null."""
    return None if isinstance(value, float) and math.isinf(value) else value
