"""Oracle of `similarity` between two models, run again on one text by a comparison.

Both have bytes for tokens, so that every token of one ends where a token of the other does.
"""

from __future__ import annotations

import numpy as np

from spectrakit.analyses.similarity.options import SimilarityOptions
from spectrakit.comparison import compare
from spectrakit.comparison.models import RunsModels
from spectrakit.spec import RunSpec
from spectrakit.tables import read_run
from spectrakit.token_options import TokenOptions
from tests.oracles.checking import near, oracle
from tests.oracles.forward import run_model
from tests.oracles.runs import RunFolder, model, observed_run, scratch, text_ids
from tests.oracles.similarity_oracle import VIEWS, hsic, linear

LENGTH, COUNT = 32, 4


def both():
    """A comparison of two bundled models, and the runs it is of."""
    ids = text_ids()[: COUNT * LENGTH].copy()
    ids[-1] = ord("\n")  # where a text is cut is not the matter here
    text, out = scratch("text.txt"), scratch("two-models")
    text.write_bytes(ids.astype(np.uint8).tobytes())
    source = TokenOptions(text=str(text), seq_len=LENGTH, batch_size=2)
    options = SimilarityOptions(estimators=("cka",))
    alike = RunsModels(RunSpec(model="", source=source, options=(options,)))
    runs = [observed_run(name) for name in ("tiny-mamba", "tiny-llama")]
    compare([read_run(run.folder) for run in runs], out, similarity=alike)
    return RunFolder(out), runs, ids.reshape(COUNT, LENGTH)


@oracle(
    "similarity",
    "model_id revision depth other_depth other_model_id other_revision other_run estimator value "
    "tokens tokens_seen token_set coordinates width other_width",
)
def similarities_of_two_models(report, long):
    """`similarity` of every depth of one model with every one of the other."""
    found, (first, other), rows = both()
    features = []
    for run in (first, other):
        passes = [run_model(model(run.manifest["model_id"]), ids).streams for ids in rows]
        depths = (np.concatenate(depth) for depth in zip(*passes, strict=True))
        features.append([linear(h) for h in depths])
    pairs = [(a, b) for a in range(len(features[0])) for b in range(len(features[1]))]
    kernels = [(features[0][a], features[1][b]) for a, b in pairs]
    values = [hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)) for x, y in kernels]
    for token_set, coordinates in VIEWS:
        report.compare(
            found,
            "similarity",
            key="depth other_depth",
            where={"token_set": token_set, "coordinates": coordinates},
            expected={
                "depth": [a for a, _ in pairs],
                "other_depth": [b for _, b in pairs],
                "model_id": first.manifest["model_id"],
                "revision": first.manifest["revision"],
                "other_model_id": other.manifest["model_id"],
                "other_revision": other.manifest["revision"],
                "other_run": 1,
                "estimator": "cka",
                "value": near(values, absolute=2e-4),
                "tokens": rows.size,
                "tokens_seen": rows.size,
                "width": first.told["passes"][0].streams[0].shape[1],
                "other_width": other.told["passes"][0].streams[0].shape[1],
            },
        )
