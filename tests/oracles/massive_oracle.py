"""Oracle of `massive`, by its rule (docs/similarity.md), and a model in which there are such.

    token       |h_t| > 20 median |h| of its sequence
    coordinate  variance or mean square > 20 times the median of all coordinates, over the tokens of
                a sequence that are not massive at any depth; sequences of fewer than 16 of them
                judge none; listed where massive in half of the others

A median is the lower one of two. What is massive at one depth is so at all.
"""

from __future__ import annotations

import shutil
from functools import cache

import numpy as np
from safetensors.numpy import load_file, save_file

from spectrakit.analyses.propagation.options import PropagationOptions
from spectrakit.analyses.similarity.options import SimilarityOptions
from tests.oracles.checking import near, oracle
from tests.oracles.definitions import FEWEST_TO_JUDGE, MASSIVE
from tests.oracles.forward import run_model
from tests.oracles.runs import CHECKPOINTS, ESTIMATORS, Model, data_run, scratch, sequences

#: Bytes that the text does not have: a long state, and large entries in one coordinate.
LONG, LARGE = 1, 2
#: Coordinates: large in all tokens, and where LARGE and LARGER are.
EVERYWHERE, SOMEWHERE, RARELY = 5, 11, 17
LARGER = 3


def median(values):
    """Along the last axis, the lower one of two."""
    return np.sort(values, axis=-1)[..., (values.shape[-1] - 1) // 2]


class Judged:
    """One sequence, from its streams (T, E) at every depth.

    norms, token_ratios (depths, T); squares, coordinate_ratios (depths, E). long (T,), large (E,):
    what is massive at any depth.
    """

    def __init__(self, streams):
        streams = np.stack(streams)
        self.norms = np.linalg.norm(streams, axis=-1)
        self.token_ratios = self.norms / median(self.norms)[:, None]
        self.long = (self.token_ratios > MASSIVE).any(0)
        ordinary = streams[:, ~self.long]
        self.judges = ordinary.shape[1] >= FEWEST_TO_JUDGE
        self.squares = (ordinary**2).mean(1)
        both = np.stack([ordinary.var(1), self.squares])
        self.coordinate_ratios = (both / median(both)[..., None]).max(0)
        if not self.judges:
            self.squares = self.coordinate_ratios = np.zeros(self.squares.shape)
        self.large = (self.coordinate_ratios > MASSIVE).any(0)


def judged(run):
    """Every sequence of a run."""
    return [Judged(one.streams) for one in run.told["passes"]]


def large_coordinates(found):
    """Of all sequences: massive in half of those that judge at least, (E,) of bool."""
    votes = np.sum([one.large for one in found], axis=0)
    return (votes > 0) & (2 * votes >= sum(one.judges for one in found))


@cache
def planted_run(length=48):
    """tiny-llama with tokens and coordinates that are massive, on a text that has them."""
    folder = scratch("planted")
    shutil.copytree(CHECKPOINTS / "tiny-llama", folder)
    tensors = dict(load_file(folder / "model.safetensors"))
    embedded = tensors["model.embed_tokens.weight"].copy()
    norm = np.median(np.linalg.norm(embedded, axis=-1))
    embedded[:, EVERYWHERE] += norm
    embedded[LONG] *= 300 * norm / np.linalg.norm(embedded[LONG])
    embedded[LARGE, RARELY] += 6 * norm
    embedded[LARGER, SOMEWHERE] -= 6 * norm
    tensors["model.embed_tokens.weight"] = embedded
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    rows = [row.copy() for row in sequences(5, length)]
    rows[0][[0, 7]] = LONG
    rows[2][1] = LONG
    rows[4][3] = LONG
    rows[3][[4, 20, 33]] = LARGE
    for row in rows[1:3]:
        row[[5, 9, 30]] = LARGER
    run = data_run(
        folder,
        rows,
        ("similarity", "propagation"),
        options=[SimilarityOptions(estimators=ESTIMATORS), PropagationOptions(rank_tokens=20)],
    )
    model = Model(folder)
    run.told |= {"model": model, "passes": [run_model(model, ids) for ids in rows]}
    return run


@oracle(
    "massive",
    "model_id revision analysis depth kind sequence position coordinate value ratio limit "
    "sequences",
)
def massive_activations(report, long):
    """`massive` of a planted model, by both of the analyses that look for them."""
    run = planted_run()
    found = judged(run)
    assert {tuple(np.flatnonzero(one.long)) for one in found} == {(0, 7), (1,), (3,), ()}
    assert set(np.flatnonzero(found[3].large)) == {EVERYWHERE, RARELY}
    assert set(np.flatnonzero(large_coordinates(found))) == {EVERYWHERE, SOMEWHERE}
    for depth in range(len(found[0].norms)):
        for analysis in ("similarity", "propagation"):
            _tokens(report, run, found, analysis, depth)
            _coordinates(report, run, found, analysis, depth)


def _tokens(report, run, found, analysis, depth):
    places = [
        (sequence, int(position))
        for sequence, one in enumerate(found)
        for position in np.flatnonzero(one.token_ratios[depth] > MASSIVE)
    ]
    report.compare(
        run,
        "massive",
        key="sequence position",
        where={"analysis": analysis, "depth": depth, "kind": "token"},
        expected={
            "model_id": run.manifest["model_id"],
            "revision": run.manifest["revision"],
            "sequence": [s for s, _ in places],
            "position": [t for _, t in places],
            "coordinate": None,
            "value": near([found[s].norms[depth, t] for s, t in places], rel=1e-5),
            "ratio": near([found[s].token_ratios[depth, t] for s, t in places], rel=1e-4),
            "limit": MASSIVE,
            "sequences": 1,
        },
    )


def _coordinates(report, run, found, analysis, depth):
    judges = [one for one in found if one.judges]
    votes = np.sum([one.coordinate_ratios[depth] > MASSIVE for one in judges], axis=0)
    places = np.flatnonzero((votes > 0) & (2 * votes >= len(judges)))
    means = {
        name: np.mean([getattr(one, of)[depth] for one in judges], axis=0)[places]
        for name, of in (("value", "squares"), ("ratio", "coordinate_ratios"))
    }
    report.compare(
        run,
        "massive",
        key="coordinate",
        where={"analysis": analysis, "depth": depth, "kind": "coordinate"},
        expected={
            "sequence": None,
            "position": None,
            "coordinate": places,
            "limit": MASSIVE,
            "sequences": votes[places],
        }
        | {name: near(values, rel=1e-4) for name, values in means.items()},
    )
