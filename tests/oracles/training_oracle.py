"""Oracle of training runs: losses and spectra again, from the checkpoints that the run kept.

Eigenvalues are recomputed in float64 from the weights of each step; the forward pass is that of the
model in transformers' clothes, the loss and the accuracy are written out here.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch

from spectrakit.training.configured import open_task
from spectrakit.training.models.backbone import kind_of
from spectrakit.training.models.config import SpectrakitConfig
from tests.oracles import eigenvalues
from tests.oracles.checking import near, oracle
from tests.oracles.memory_oracle import FixedState, _lru_with_conjugates
from tests.oracles.runs import Model, RunFolder, scratch
from tests.oracles.spectrum_oracle import QUANTILE_COLUMNS, SHARES, _quantiles, _shares
from tests.training.tiny import recipe, trained

STEPS, BATCH, WARMUP = 6, 10, 2
CHANGES = {
    "mixer": {"name": "lru", "state_size": 5},
    "model": {"width": 8, "depth": 2, "dropout": 0.0},
    "optimiser": {"rate": 0.01, "recurrence_rate": 0.002, "warmup": WARMUP},
    "budget": {"steps": STEPS, "batch": BATCH},
    "evaluation": {"every": 3, "examples": 20},
    "tracking": {"every": 2},
    "checkpoints": {"every": 1, "keep_every": 1},
}


class Trained(RunFolder):
    """A folder of a training run."""

    def __init__(self, folder):
        self.folder, self._rows = folder, {}


@cache
def run():
    """Of an LRU on digits, every step of which is kept."""
    folder = scratch("trained")
    trained(folder, **CHANGES)
    return Trained(folder)


def checkpoint(step):
    """The weights after so many steps."""
    return run().folder / "checkpoints" / f"step-{step:08d}"


@cache
def task():
    """The digits."""
    return open_task(recipe(**CHANGES))


def loss_and_accuracy(step, split, numbers):
    """Of the model after `step` on examples of a split: mean cross-entropy, and accuracy."""
    folder = checkpoint(step)
    model = kind_of(SpectrakitConfig.from_pretrained(folder)).from_pretrained(folder).eval()
    batch = task().batch(split, numbers)
    inputs = torch.as_tensor(batch.inputs)
    name = "input_ids" if inputs.dim() == 2 and not inputs.is_floating_point() else "input_values"
    with torch.no_grad():
        logits = model(**{name: inputs}).logits.double().numpy()
    targets = np.asarray(batch.targets)
    logits -= logits.max(-1, keepdims=True)
    log_share = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    right = (logits.argmax(-1) == targets).mean()
    return -log_share[np.arange(len(targets)), targets].mean(), right


@oracle("training", "step split loss metric epoch examples targets rate recurrence_rate")
def what_was_lost(report, long):
    """`training`: evaluations from the kept models, rates from the schedule."""
    size = task().size("train")
    for step in (3, 6):
        every = task().size("validation") / 20  # evenly over the split
        numbers = [int(place * every) for place in range(20)]
        loss, right = loss_and_accuracy(step, "validation", numbers)
        report.compare(
            run(),
            "training",
            key="",
            where={"step": step, "split": "validation"},
            expected={
                "loss": near(loss, rel=1e-5),
                "metric": near(right, rel=1e-12),
                "examples": 20,
                "targets": 20,
                "epoch": None,
            },
        )
    steps = np.arange(STEPS)
    falling = 0.5 * (1 + np.cos(math.pi * (steps - WARMUP) / (STEPS - WARMUP)))
    share = np.where(steps < WARMUP, (steps + 1) / WARMUP, falling)
    report.compare(
        run(),
        "training",
        key="step",
        where={"split": "train"},
        expected={
            "step": steps,
            "metric": None,
            "epoch": near((steps + 1) * BATCH / size, rel=1e-12),
            "examples": BATCH,
            "targets": BATCH,
            "rate": near(0.01 * share, rel=1e-12),
            "recurrence_rate": near(0.002 * share, rel=1e-12),
        },
    )


def spectra():
    """Step, layer and eigenvalues of every snapshot."""
    for step in (0, 2, 4, 6):
        stored = Model(checkpoint(step))
        for layer in range(2):
            yield step, layer, eigenvalues.of_lru(stored, f"model.blocks.{layer}.mixer.")


@oracle(
    "training_spectrum",
    "step layer head domain mode gauge count spectral_radius spectral_radius_bound stable "
    "mean_modulus mean_modulus_bound relative_error "
    f"token_spread {QUANTILE_COLUMNS} {SHARES} " + " ".join(f"{s}_bound" for s in SHARES.split()),
)
def spectra_while_training(report, long):
    """`training_spectrum`: every column from all eigenvalues of the kept weights."""
    for step, layer, found in spectra():
        rate, degrees = found.rate.flatten(), np.abs(found.degrees).flatten()
        for head in (None, 0):
            report.compare(
                run(),
                "training_spectrum",
                key="",
                where={"step": step, "layer": layer, "head": head},
                expected={
                    "domain": "discrete",
                    "mode": "static",
                    "gauge": "unnormalised",
                    "count": rate.size,
                    "tokens": None,
                    "sequences": None,
                    "spectral_radius": near(np.exp(-rate.min()), rel=1e-12),
                    "spectral_radius_bound": 0.0,
                    "spectral_abscissa": None,
                    "spectral_abscissa_bound": None,
                    "stable": bool(rate.min() > 0),
                    "mean_modulus": near(np.exp(-rate).mean(), rel=1e-12),
                    "mean_modulus_bound": 0.0,
                    **_quantiles(rate, 1e-11),
                    **_shares(rate, degrees),
                    "relative_error": 0.0,
                    "token_spread": 0.0,
                },
            )


@oracle("training_timescales", "step layer mode gauge timescale_low timescale_high count")
def timescales_while_training(report, long):
    """`training_timescales`: eigenvalues counted in bins of a tenth of a decade."""
    for step, layer, found in spectra():
        place = np.floor(10 * np.log10(1 / found.rate.flatten()) + 1e-12)
        bins, counts = np.unique(place, return_counts=True)
        rows = [r for r in run().rows("training_timescales")
                if (r["step"], r["layer"]) == (step, layer)]  # fmt: skip
        lows = sorted(row["timescale_low"] for row in rows)
        np.testing.assert_allclose(lows, 10 ** (bins / 10), rtol=1e-9)
        report.compare(
            run(),
            "training_timescales",
            key="timescale_low",
            where={"step": step, "layer": layer},
            expected={
                "timescale_low": lows,
                "timescale_high": near(10 ** ((bins + 1) / 10), rel=1e-9),
                "mode": "static",
                "gauge": "unnormalised",
                "count": counts,
            },
        )


@oracle(
    "training_memory",
    "step layer head mode past precision systems inputs rank capacity horizon capacity_within "
    "mean_delay",
)
def memory_while_training(report, long):
    """`training_memory`: of the kept weights, by the Gramian of their eigenvalues and B."""
    for step in (0, 6):
        stored = Model(checkpoint(step))
        for layer in range(2):
            at = f"model.blocks.{layer}.mixer."
            system = _lru_with_conjugates(stored, at, eigenvalues.of_lru(stored, at))
            state = FixedState(*system, "exact")
            for head in (None, 0):
                report.compare(
                    run(),
                    "training_memory",
                    key="",
                    where={"step": step, "layer": layer, "head": head},
                    expected={
                        "channel": None,
                        "mode": "static",
                        "past": "infinite",
                        "precision": "exact",
                        "systems": 1,
                        "inputs": 8,
                        "rank": state.rank,
                        "capacity": near(state.beyond(0), rel=1e-9),
                        "horizon": 65_536,
                        "capacity_within": near(state.beyond(0) - state.beyond(65_536), rel=1e-9),
                        "mean_delay": near(state.mean_delay(), rel=1e-7),
                        "key_kernel_rank": None,
                        "keys": None,
                        "samples": None,
                        "reason": None,
                    },
                )
