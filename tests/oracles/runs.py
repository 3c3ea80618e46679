"""The runs that the oracles look at: made once, written to a folder, read with pyarrow."""

from __future__ import annotations

import atexit
import itertools
import json
import lzma
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

import spectrakit as sk
from spectrakit.analyses.memory.options import MemoryOptions
from spectrakit.analyses.propagation.options import PropagationOptions
from spectrakit.analyses.similarity.options import SimilarityOptions
from spectrakit.token_options import TokenOptions
from tests.oracles.forward import run_model

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ROOT / "catalog" / "checkpoints"
BUNDLED = ("tiny-mamba", "tiny-mamba2", "tiny-llama")

_SCRATCH = tempfile.TemporaryDirectory(prefix="spectrakit-oracles-")
atexit.register(_SCRATCH.cleanup)
_numbers = itertools.count()


def scratch(name):
    """A new path for a folder or file that lives as long as the process."""
    return Path(_SCRATCH.name) / f"{next(_numbers)}-{name}"


class RunFolder:
    """A run as a user finds it: Parquet files and run.json."""

    def __init__(self, folder, told=None):
        self.folder = Path(folder)
        #: What it was made of: whatever the oracle needs.
        self.told = told or {}
        self.manifest = json.loads((self.folder / "run.json").read_text())
        self._rows = {}

    def __repr__(self):
        return self.folder.name

    @property
    def tables(self):
        """Names of the tables there are."""
        return sorted(file.stem for file in self.folder.glob("*.parquet"))

    def rows(self, table):
        """All rows of a table, as dicts; none where it is not there."""
        if table not in self._rows:
            file = self.folder / f"{table}.parquet"
            self._rows[table] = pq.read_table(file).to_pylist() if file.exists() else []
        return self._rows[table]


class Model:
    """A checkpoint's tensors in float64, and its config."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.config = json.loads((self.folder / "config.json").read_text())
        self.stored = load_file(self.folder / "model.safetensors")

    def __getitem__(self, name):
        """A tensor in float64."""
        return self.stored[name].astype(np.float64)


@cache
def model(name):
    """A bundled checkpoint."""
    return Model(CHECKPOINTS / name)


@cache
def text_ids():
    """The held-out tenth of the bundled text as bytes, which are its token ids."""
    packed = (ROOT / "catalog" / "texts" / "tiny-shakespeare.txt.xz").read_bytes()
    text = lzma.decompress(packed)
    return np.frombuffer(text[len(text) * 9 // 10 :], np.uint8).astype(np.int64)


def sequences(count, length, start=0):
    """`count` sequences of `length` token ids of the text, the last one a third as long."""
    ids = text_ids()[start : start + count * length]
    rows = list(ids.reshape(count, length))
    return [*rows[:-1], rows[-1][: length // 3]]


def token_source(rows, batch_size=2):
    """The sequences as a token file, and what reads them again: all as long but the last."""
    file = scratch("tokens.npy")
    np.save(file, np.concatenate(rows))
    length = len(rows[0])
    return TokenOptions(
        tokens=file, batch_size=batch_size, seq_len=length, max_tokens=sum(map(len, rows))
    )


def run(name, told=None, **options):
    """`spectrakit.analyze`, read back."""
    out = scratch(Path(str(name)).name)
    sk.analyze(name, out=out, **options)
    return RunFolder(out, told)


@cache
def weights_run(name, analyses=("spectrum", "lyapunov", "memory")):
    """A bundled checkpoint in weights mode, in both domains."""
    return run(name, analyses=analyses, mode="weights", domain="both")


def data_run(folder, rows, analyses, **options):
    """A checkpoint on these sequences."""
    return run(
        str(folder), {"sequences": rows}, analyses=analyses, source=token_source(rows), **options
    )


#: Everything that one forward pass shows, and a second one beside it.
ANALYSES = (
    "spectrum", "lyapunov", "kernel", "memory", "similarity", "propagation", "perturbation",
)  # fmt: skip
ESTIMATORS = ("cka", "cka_minibatch", "cka_rbf", "mutual_knn", "procrustes")
#: Options of the analyses that have some here.
TOLD = {
    "memory": MemoryOptions(positions=1, heads=2),
    "similarity": SimilarityOptions(estimators=ESTIMATORS),
    "propagation": PropagationOptions(rank_tokens=20),
}


@cache
def observed_run(name, count=5, length=48, start=0, analyses=ANALYSES):
    """A bundled checkpoint on `count` sequences of the text, with the pass of each in `told`."""
    rows = sequences(count, length, start)
    found = data_run(
        CHECKPOINTS / name,
        rows,
        analyses,
        options=[TOLD[name] for name in analyses if name in TOLD],
    )
    found.told |= {"model": model(name), "passes": [run_model(model(name), ids) for ids in rows]}
    return found


def observed_runs(long):
    """Those of the bundled models: a small one of each, and longer ones."""
    for name in BUNDLED:
        yield observed_run(name)
        for start in (5000, 20000) if long else ():
            yield observed_run(name, 6, 300, start)
