"""How much of an input's past a linear read-out of the states recovers: memory of a black box.

    R^2(tau) = 1 - <(u_{t-tau} - w_tau^T x_t - b_tau)^2> / <(u_{t-tau} - <u>)^2>

w_tau, b_tau are a ridge regression on one set of sequences, the average is over another: with N
features and n samples a regression explains N / n of anything in the samples it was made of, and
fails by as much more on new ones. What is left of that is taken off:

    1 - R^2 = (1 - R^2_held-out) (n - N - 1) / (n - 1)

exact for Gaussian states and N the trace of the ridge's projection (its degrees of freedom). For
white u and the states of a linear recurrence R^2(tau) is the memory function (Jaeger 2001; Dambre
et al. 2012, doi:10.1038/srep00514). Dambre et al. set to zero what noise alone reaches: here
signals that the states have never seen are regressed too, and `threshold` is what those reach.

B sequences, T tokens, N features of x, D delays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Signals the states have never seen.
NULL_SIGNALS = 32
#: The ridge, as a share of the features' mean variance.
RIDGE = 1e-9
#: What rounding leaves of the variance of a feature that is constant, as a share of its square.
_ROUNDING = 1e-14
#: Standard deviations of the null above its mean that count as memory.
_DEVIATIONS = 4.0


@dataclass(frozen=True)
class RecoveredPast:
    """R^2 at each delay, (D,), corrected as above: noise around zero where nothing is recovered.

    threshold: what unrelated signals hardly reach. samples: n, fitted to. dimension: N.
    """

    value: Tensor
    threshold: float
    samples: int
    dimension: float


class TooFewSamplesError(ValueError):
    """There are not enough samples for as many read-outs."""


class DelayRegression:
    """The sums that the regressions at all `delays` need, in float64; their size is that of N."""

    def __init__(self, delays: Sequence[int], seed: int = 0) -> None:
        self.delays = tuple(delays)
        self._generator = torch.Generator().manual_seed(seed)
        self._sums: list[_Sums | None] = [None, None]

    def add(self, states: Tensor, inputs: Tensor) -> None:
        """Take in states (B, T, N) and the white inputs (B, T) that made them.

        Sequences go to the fit and to the held-out set in turn. Tokens before the longest delay are
        left out, so that every delay has the same samples.
        """
        first = max(self.delays)
        noise = torch.randn(
            *inputs.shape, NULL_SIGNALS, generator=self._generator, dtype=torch.float64
        )
        inputs = inputs.double().cpu()
        past = [inputs[:, first - delay : inputs.shape[1] - delay] for delay in self.delays]
        targets = torch.cat([torch.stack(past, -1), noise[:, first:]], -1)
        kept = states[:, first:].double().cpu()
        for part in (0, 1):
            added = _Sums.of(kept[part::2].flatten(0, 1), targets[part::2].flatten(0, 1))
            before = self._sums[part]
            self._sums[part] = added if before is None else before.plus(added)

    def merge(self, other: Self) -> None:
        """Take in what `other` saw of other sequences."""
        for part, (mine, theirs) in enumerate(zip(self._sums, other._sums, strict=True)):
            if theirs is not None:
                self._sums[part] = theirs if mine is None else mine.plus(theirs)

    def recovered(self) -> RecoveredPast:
        """What the read-outs recover on the sequences they were not fitted to.

        Raises TooFewSamplesError where either set has less than two samples a read-out.
        """
        fit, held_out = self._sums
        if fit is None or held_out is None or min(fit.count, held_out.count) < 2 * fit.features + 2:
            count = 0 if fit is None or held_out is None else min(fit.count, held_out.count)
            features = 0 if fit is None else fit.features
            message = f"{count} samples for {features} read-outs"
            raise TooFewSamplesError(message)
        covariance, cross, _ = fit.centred()
        ridge = RIDGE * covariance.diagonal().mean().clamp(min=0)
        ridge = ridge + _ROUNDING * fit.xx.diagonal().mean() / fit.count
        values, vectors = torch.linalg.eigh(covariance)
        values = values.clamp(min=0)
        ridged = (values + ridge).clamp(min=1e-300)  # features may be nothing but zeros
        dimension = float((values / ridged).sum())
        solved = vectors @ ((vectors.T @ cross) / ridged.unsqueeze(-1))
        unexplained = held_out.error(fit, solved) / held_out.centred()[2]
        shrink = (fit.count - dimension - 1) / (fit.count - 1)
        value = 1 - unexplained * shrink
        null = value[len(self.delays) :]
        threshold = float(null.mean() + _DEVIATIONS * null.std())
        return RecoveredPast(value[: len(self.delays)], threshold, fit.count, dimension)


@dataclass(frozen=True)
class _Sums:
    """Sums over samples of x, y, x x^T, x y^T and y^2: x (N,), y (D,)."""

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> _Sums:
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y, y.square().sum(0))

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.count + other.count,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )

    @property
    def features(self) -> int:
        return len(self.x)

    def centred(self) -> tuple[Tensor, Tensor, Tensor]:
        """Covariance of x, of x and y, and the variances of y."""
        x, y = self.x / self.count, self.y / self.count
        return (
            self.xx / self.count - torch.outer(x, x),
            self.xy / self.count - torch.outer(x, y),
            self.yy / self.count - y.square(),
        )

    def error(self, fit: _Sums, weights: Tensor) -> Tensor:
        """Mean squared error here of what was fitted there: (D,)."""
        bias = fit.y / fit.count - weights.T @ (fit.x / fit.count)
        x, y = self.x / self.count, self.y / self.count
        offset = y - bias - weights.T @ x  # mean residual
        covariance, cross, variance = self.centred()
        spread = variance - 2 * (weights * cross).sum(0) + (weights * (covariance @ weights)).sum(0)
        return spread + offset.square()
