"""A recipe that trains in a second, and what the tests of the loop do with it."""

from __future__ import annotations

import pyarrow.parquet as pq

from spectrakit.training.recipes.schema import Recipe
from spectrakit.training.run import Where, train

RECORD = {
    "task": {"name": "digits"},
    "mixer": {"name": "s4d", "state_size": 4},
    "model": {"width": 8, "depth": 1, "dropout": 0.2},
    "optimiser": {"rate": 0.01, "recurrence_rate": 0.002, "warmup": 3},
    "budget": {"steps": 24, "batch": 12},
    "evaluation": {"every": 8, "examples": 20},
    "tracking": {"every": 4, "memory_every": 7},
    "checkpoints": {"every": 5},
}


def recipe(**changes):
    """The recipe with some tables' keys changed: `budget={"steps": 5}`."""
    record = {key: dict(value) for key, value in RECORD.items()}
    for key, value in changes.items():
        record[key] = {**record.get(key, {}), **value} if isinstance(value, dict) else value
    return Recipe.model_validate(record)


def trained(out, watcher=None, restart=False, **changes):
    """Train into `out`."""
    return train(recipe(**changes), Where(out, "cpu", restart=restart), watcher)


def tables(folder):
    """Every table of a run without what tells runs apart, or time."""
    found = {}
    for name in ("training", "training_spectrum", "training_timescales", "training_memory"):
        table = pq.read_table(folder / f"{name}.parquet", partitioning=None)
        found[name] = table.drop_columns([c for c in ("model_id", "seconds")
                                          if c in table.column_names])  # fmt: skip
    return found


def losses(folder):
    """The losses of training batches, in order."""
    rows = pq.read_table(folder / "training.parquet", partitioning=None).to_pylist()
    return [row["loss"] for row in rows if row["split"] == "train"]


class Until:
    """A watcher that does something after a step."""

    def __init__(self, step, act):
        self.at, self.act = step, act

    def begin(self, step, steps):
        pass

    def step(self, report):
        if report.step == self.at:
            self.act()

    def say(self, line):
        pass

    def end(self):
        pass
