"""What a finished run says for itself: how good, and where the eigenvalues went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.display.numbers import humanise, near_one
from spectrakit.display.plain_tables import layer_table
from spectrakit.tables.training_schemas import TRAINING_SPECTRUM
from spectrakit.training.reading import TrainingTables

if TYPE_CHECKING:
    from rich.table import Table

    from spectrakit.training.run import TrainingResult


@dataclass(frozen=True)
class Outcome:
    """A result, with each layer's spectrum before and after."""

    result: TrainingResult
    layers: list[tuple[dict[str, Any], dict[str, Any]]]

    def table(self) -> Table:
        """A line per layer."""
        headings = ("mode", "radius\nat first", "\nat last", "median steps\nat first", "\nat last",
                    "95%\nat first", "\nat last")  # fmt: skip
        mixer = self.result.recipe.kind
        return layer_table(headings, [_cells(mixer, *pair) for pair in self.layers])

    def sentence(self) -> str:
        """How good it is, in a line."""
        result = self.result
        metric = result.metric_name.replace("_", " ")
        stopped = (
            ", where the validation metric was good enough" if result.status == "stopped" else ""
        )
        return f"test {metric} {result.test:.4g} after {result.step:,} steps{stopped}"

    def places(self) -> list[str]:
        """What to do next, a line each."""
        folder = self.result.folder
        return [f"in {folder}: training.png, training*.parquet, checkpoints/",
                f"next: spectrakit analyze {folder}"]  # fmt: skip

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        result = self.result
        return {
            "folder": str(result.folder),
            "status": result.status,
            "step": result.step,
            "metric": result.metric_name,
            "test": result.test,
            "validation": result.validation,
            "resumed_at": result.resumed_at,
            "layers": [
                {"layer": first["layer"], "mode": first["mode"], "gauge": first["gauge"],
                 "first": _numbers(first), "last": _numbers(last)}
                for first, last in self.layers
            ],
        }  # fmt: skip


def outcome(result: TrainingResult) -> Outcome:
    """The outcome of a run whose tables are in its folder."""
    spectrum = TrainingTables(result.folder).table(TRAINING_SPECTRUM.name)
    rows = [row for row in spectrum.to_pylist() if row["head"] is None and row["gauge"] != "dsf"]
    layers = sorted({row["layer"] for row in rows})
    pairs = []
    for layer in layers:
        own = sorted((row for row in rows if row["layer"] == layer), key=lambda row: row["step"])
        pairs.append((own[0], own[-1]))
    return Outcome(result, pairs)


_SHOWN = ("spectral_radius", "timescale_q50", "timescale_q95")


def _cells(mixer: str, first: dict[str, Any], last: dict[str, Any]) -> tuple[object, ...]:
    radii = [near_one(row["spectral_radius"]) for row in (first, last)]
    medians = [humanise(row["timescale_q50"]) for row in (first, last)]
    tails = [humanise(row["timescale_q95"]) for row in (first, last)]
    return first["layer"], mixer, first["mode"], *radii, *medians, *tails


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    # Infinity is no number of JSON.
    return {key: row[key] if row[key] is None or row[key] < 1e300 else None for key in _SHOWN}
