"""How much of an input's past a linear read-out of the states recovers: memory of a black box.

    R^2(tau) = 1 - sum (u_{t-tau} - w_tau^T z_t - b_tau)^2 / sum (u_{t-tau} - <u>)^2

z_t are the states x_t, each feature standardised; w_tau, b_tau a ridge regression on some of the
sequences, the sums over others. Sequences are dealt to `FOLDS` sets. Each is scored in turn by
read-outs fitted to the other three, and of these three each in turn says which of `RIDGES` is best
for the other two, delay by delay: nothing that is scored has had a say in how (nested
cross-validation). The largest ridge is infinite and predicts the mean, so R^2 falls hardly below
zero, whatever the features are.

With d effective features and n samples a regression fails by a share d / n more on new samples than
it would for infinitely many. That is taken off:

    1 - R^2 = (1 - R^2_scored) (n - d - 1) / (n - 1)        d = sum_i (v_i / (v_i + ridge))^2

v: eigenvalues of the features' correlation; exact for Gaussian states without a ridge. For white u
and the states of a linear recurrence R^2(tau) is the memory function (Jaeger 2001; Dambre et al.
2012, doi:10.1038/srep00514). Dambre et al. set to zero what noise alone reaches: here signals that
the states have never seen are regressed too, and `threshold` is what those reach.

A few tokens whose states are a thousand times the others' would decide everything: features are
kept within limits taken from what was seen first (`feature_limits`), which light tails never meet.

B sequences, T tokens, N features of x, D delays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations.feature_limits import FeatureLimits
from spectrakit.representations.ridge import RIDGES, Ridge, Samples

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Sets of sequences: every one is scored by read-outs of the others.
FOLDS = 4
#: Signals the states have never seen.
NULL_SIGNALS = 32
#: Standard deviations of the null above its mean that count as memory.
_DEVIATIONS = 4.0


@dataclass(frozen=True)
class RecoveredPast:
    """R^2 at each delay, (D,), corrected as above: noise around zero where nothing is recovered.

    threshold: what unrelated signals hardly reach. samples: scored, each once. dimension: sum_i
    v_i / (v_i + ridge), and ridge: that was chosen, relative to a standardised feature's variance;
    (D,), means and medians over the folds.
    """

    value: Tensor
    threshold: float
    samples: int
    dimension: Tensor
    ridge: Tensor

    @property
    def remembered(self) -> Tensor:
        """Which delays are in the unbroken run above the threshold around the largest R^2: (D,).

        Delays behind it are not: of many that are noise some exceed any threshold.
        """
        peak = int(self.value.argmax())
        above = self.value > self.threshold
        after = above[peak:].long().cumprod(0)
        before = above[: peak + 1].flip(0).long().cumprod(0).flip(0)
        return torch.cat([before[:-1], after]).bool()


class TooFewSamplesError(ValueError):
    """There are not enough samples for as many read-outs, or not enough sequences to part."""


class DelayRegression:
    """The sums that the regressions at all `delays` need, in float64; their size is that of N."""

    def __init__(self, delays: Sequence[int], seed: int = 0) -> None:
        self.delays = tuple(delays)
        self._generator = torch.Generator().manual_seed(seed)
        self._folds: list[Samples | None] = [None] * FOLDS
        self._sequences = 0
        self._limits: FeatureLimits | None = None

    def add(self, states: Tensor, inputs: Tensor) -> None:
        """Take in states (B, T, N) and the white inputs (B, T) that made them.

        Sequences go to the folds in turn. Tokens before the longest delay are left out, so that
        every delay has the same samples.
        """
        first = max(self.delays)
        noise = torch.randn(
            *inputs.shape, NULL_SIGNALS, generator=self._generator, dtype=torch.float64
        )
        inputs = inputs.double().cpu()
        past = [inputs[:, first - delay : inputs.shape[1] - delay] for delay in self.delays]
        targets = torch.cat([torch.stack(past, -1), noise[:, first:]], -1)
        kept = states[:, first:].double().cpu()
        if self._limits is None:
            self._limits = FeatureLimits.of(kept.flatten(0, 1))
        kept, usual = self._limits.limited(kept)
        for fold in range(FOLDS):
            here = slice((fold - self._sequences) % FOLDS, None, FOLDS)
            if bool(usual[here].any()):
                chosen = usual[here]
                self._put(fold, Samples.of(kept[here][chosen], targets[here][chosen]))
        self._sequences += len(kept)

    def _put(self, fold: int, added: Samples) -> None:
        before = self._folds[fold]
        self._folds[fold] = added if before is None else before.plus(added)

    def recovered(self) -> RecoveredPast:
        """What the read-outs recover on the sequences they were not fitted to.

        Raises TooFewSamplesError where there are less than three sequences, or less than two
        samples a read-out to fit to.
        """
        folds = [fold for fold in self._folds if fold is not None]
        if len(folds) < _FEWEST:
            message = f"{self._sequences} sequences, which are too few to part in {_FEWEST}"
            raise TooFewSamplesError(message)
        count, features = sum(fold.count for fold in folds), folds[0].features
        fitted = count - max(fold.count for fold in folds)
        if fitted < 2 * features + 2:
            message = f"{fitted} samples for {features} read-outs"
            raise TooFewSamplesError(message)
        scores = [_scored(folds, held_out) for held_out in range(len(folds))]
        error = torch.stack([score.error for score in scores]).sum(0)
        value = 1 - error / torch.stack([fold.yy for fold in folds]).sum(0)
        null, delays = value[len(self.delays) :], slice(len(self.delays))
        return RecoveredPast(
            value[delays],
            float(null.mean() + _DEVIATIONS * null.std()),
            count,
            torch.stack([score.dimension for score in scores]).mean(0)[delays],
            torch.stack([score.ridge for score in scores]).median(0).values[delays],
        )


#: Sets of sequences without which no ridge can be chosen apart from what is scored.
_FEWEST = 3


@dataclass(frozen=True)
class _Score:
    """Of one fold, (D,): the sum of squared errors, corrected, and the read-out that made them."""

    error: Tensor
    dimension: Tensor
    ridge: Tensor


def _scored(folds: Sequence[Samples], held_out: int) -> _Score:
    """Fold `held_out`, by read-outs that the other folds alone have chosen."""
    others = [fold for index, fold in enumerate(folds) if index != held_out]
    tried = torch.zeros(())
    for index, judge in enumerate(others):
        fitted_to = [fold for place, fold in enumerate(others) if place != index]
        tried = tried + Ridge.of(Samples.joined(fitted_to)).errors(judge)
    best: Tensor = tried.argmin(0)  # (D,)
    whole = Samples.joined(others)
    ridge = Ridge.of(whole)
    each = torch.arange(len(best))
    error = ridge.errors(folds[held_out])[best, each]
    shrink: Tensor = (whole.count - ridge.lost() - 1) / (whole.count - 1)
    return _Score(
        error * shrink[best],
        ridge.dimension()[best],
        torch.tensor(RIDGES, dtype=torch.float64)[best],
    )
