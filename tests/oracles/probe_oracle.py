"""Oracle of `probe`: prompts whose answers are known.

The key that is asked for ends in a's or z's, and so its value begins with one letter or another: a
state that has read the key tells `answer_start`, the last token's embedding does not. At depth 0
all prompts end in one state, so every probe is constant, right once for every source where each of
its prompts has a label of its own. Intervals are Wilson's, for n' = S or n prompts.
"""

from __future__ import annotations

import json
from statistics import NormalDist

import numpy as np

from spectrakit.analyses.probe.options import ProbeOptions
from tests.oracles.checking import near, oracle
from tests.oracles.forward import run_model
from tests.oracles.runs import CHECKPOINTS, model, run, scratch

SOURCES, POSITIONS = 20, 2
#: Each with both ends of its interval.
SHARES = [
    f"{share}{end}" for share in ("accuracy", "model_accuracy") for end in ("", "_low", "_high")
]

TASK = (
    "Extract the value corresponding to the specified key in the JSON object below.\n\n"
    'JSON data:\n{{{data}}}\n\nKey: "{key}"\nCorresponding value:'
)


def records(alike):
    """Pairs of keys and values, the one that is asked for first. alike: of one value for all."""
    for number in range(SOURCES):
        kind = number % 2
        key = f"{number:02}" + "az"[kind] * 10
        value = "same" if alike else "xy"[kind] + f"{7 * number:03}"
        other = "same" if alike else "qr"[number % 3 % 2] + f"{5 * number:03}"
        yield [(key, value), (f"{number:02}other", other)]


def prompt_file(alike):
    """The records in the format of lost-in-the-middle."""
    file = scratch("records.jsonl")
    lines = (
        json.dumps({"ordered_kv_records": pairs, "key": pairs[0][0], "value": pairs[0][1]})
        for pairs in records(alike)
    )
    file.write_text("\n".join(lines))
    return file


def wilson(share, size):
    """The 95 % interval of a share of `size` observations."""
    z = NormalDist().inv_cdf(0.975)
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z * np.sqrt(share * (1 - share) / size + z**2 / (4 * size**2)) / (1 + z**2 / size)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def effective(right):
    """n' of observations (sources, each)."""
    share, size = right.mean(), right.size
    if not 0 < share < 1:
        return len(right)
    sums = (right - share).sum(1)
    variance = len(right) / (len(right) - 1) * (sums**2).sum() / size**2
    return size if variance == 0 else np.clip(share * (1 - share) / variance, len(right), size)


def chosen_by(one, pairs, position):
    """Whether the model's likeliest tokens lead to the right value and not to the other."""
    lines = [f'"{k}": "{v}"' for k, v in pairs]
    ordered = lines[1:]
    ordered.insert(position, lines[0])
    text = TASK.format(data=",\n ".join(ordered), key=pairs[0][0])
    right, wrong = (f' "{value}"'.encode() for _, value in pairs)
    split = next(at for at in range(len(right)) if right[at] != wrong[at])
    ids = np.frombuffer(text.encode() + right[:split], np.uint8).astype(int)
    scores = run_model(one, ids).logits[-1]
    return scores[right[split]] > scores[wrong[split]]


@oracle(
    "probe",
    "model_id revision prompt_set target depth gold_position accuracy accuracy_low accuracy_high "
    "shuffled_accuracy chance reason model_accuracy model_accuracy_low model_accuracy_high "
    "model_reason items prompts sources features",
)
def probes(report, long):
    """`probe` of prompts whose answers are known, and of prompts that cannot be probed."""
    for name in ("tiny-mamba", "tiny-mamba2") if long else ("tiny-mamba",):
        found = _run(name, alike=False)
        pairs = list(records(False))
        right = np.array(
            [[chosen_by(model(name), p, at) for at in range(POSITIONS)] for p in pairs]
        )
        for depth in range(4):
            _gold_position(report, found, depth, right)
            _answer_start(report, found, depth, right)
    _nothing_to_tell(report, _run("tiny-mamba", alike=True))


def _run(name, *, alike):
    options = ProbeOptions(
        prompt_file=prompt_file(alike), prompts=SOURCES * POSITIONS, pairs=2, positions=POSITIONS
    )
    return run(str(CHECKPOINTS / name), analyses=("probe",), mode="data", options=[options])


def _common(found, prompts, right):
    low, high = wilson(right.mean(), effective(right))
    return {
        "model_id": found.manifest["model_id"],
        "revision": found.manifest["revision"],
        "prompt_set": "kv-retrieval",
        "items": 2,
        "prompts": prompts,
        "sources": SOURCES,
        "features": 96,
        "chance": 0.5,
        "reason": None,
        "model_accuracy": near(right.mean(), rel=1e-12),
        "model_accuracy_low": near(low, rel=1e-9, absolute=1e-12),
        "model_accuracy_high": near(high, rel=1e-9),
        "model_reason": None,
    }


def _told(share, size, shuffled=None):
    low, high = wilson(share, size)
    told = {
        "accuracy": near(share, rel=1e-12),
        "accuracy_low": near(low, rel=1e-9),
        "accuracy_high": near(high, rel=1e-9),
    }
    return told if shuffled is None else told | {"shuffled_accuracy": near(shuffled, rel=1e-12)}


def _gold_position(report, found, depth, right):
    where = {"target": "gold_position", "depth": depth, "gold_position": None}
    # Constant at depth 0: one of the prompts of every source. Deeper, nothing is known of it.
    told = _told(1 / POSITIONS, SOURCES * POSITIONS, 1 / POSITIONS) if depth == 0 else {}
    report.compare(
        found, "probe", "", where=where, expected=_common(found, right.size, right) | told
    )


def _answer_start(report, found, depth, right):
    for position in (None, *range(POSITIONS)):
        where = {"target": "answer_start", "depth": depth, "gold_position": position}
        here = right if position is None else right[:, [position]]
        told = _told(1.0, SOURCES) if depth else {}
        report.compare(
            found, "probe", "", where=where, expected=_common(found, here.size, here) | told
        )


def _nothing_to_tell(report, found):
    for depth in range(4):
        report.compare(
            found,
            "probe",
            "",
            where={"target": "answer_start", "depth": depth, "gold_position": None},
            expected=dict.fromkeys(("shuffled_accuracy", *SHARES))
            | {"reason": "one_label", "model_reason": "no_candidates", "chance": 1.0},
        )
