"""Folders of runs as a batch leaves them: made-up spectra of known shape."""

from __future__ import annotations

import numpy as np

from spectrakit.builtin import TABLES
from spectrakit.tables import IDENTITY, Manifest, RunWriter
from tests.report.synthetic import SyntheticRun

SCHEMAS = {table.name: table for table in TABLES}
TEXT = {"spec": {"source": {"text": None, "seq_len": 512}}, "tokens": 1024, "sequences": 2}


def write_run(zoo, name, made, manifest=None):
    """Put the tables of a `SyntheticRun` into `zoo` as the run `name`."""
    run = made.run
    with RunWriter(zoo / "runs" / name, manifest or run.manifest) as writer:
        for table in run.tables:
            rows = run.table(table).drop_columns([column.name for column in IDENTITY])
            writer.append(SCHEMAS[table], rows)
    return zoo / "runs" / name


def weights_run(
    zoo, name, *layers, model_id=None, revision=None, mode="nominal", gauge="unnormalised"
):
    """A run in weights mode whose layers have these decay rates."""
    made = SyntheticRun(model_id or name, revision=revision or f"local-{name}")
    for rates in layers:
        made.layer(np.asarray(rates, float), mode=mode, gauge=gauge)
    return write_run(zoo, name, made)


def data_run(zoo, name, *layers, gauge="unnormalised", manifest=TEXT):
    """A run in mode data, on the bundled text if nothing else is said."""
    made = SyntheticRun(name, mode="data")
    for rates in layers:
        made.layer(np.asarray(rates, float), mode="data", gauge=gauge, exact=False)
    told = {"model_id": name, "revision": f"local-{name}", "mode": "data"} | manifest
    return write_run(zoo, name, made, Manifest(**told))


def log_uniform(seed, low=1e-3, high=1.0, count=200):
    """Decay rates between two others."""
    return 10 ** np.random.default_rng(seed).uniform(np.log10(low), np.log10(high), count)


class Counting:
    """A `Progress` that adds up: `total` and `done`, of all its tasks."""

    total = done = 0

    def task(self, what, *, total, unit):
        self.total += total or 0
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def advance(self, amount):
        self.done += amount
