"""A sketch of decay rates: counts in logarithmic bins, each 1 % wide.

Millions of tokens times thousands of channels times states are reduced to a few thousand counts
while they stream. Every rate is represented within a relative error of 1 % (`RELATIVE_ERROR`), and
merging two sketches is adding their counts, so a text has the same sketch however it is cut into
batches. The bins are those of DDSketch (Masson, Rim & Lee 2019, arXiv 1908.10693) at growth 1.01.

|lambda| = 0, |lambda| = 1 and |lambda| > 1 are counted exactly: the first two by counters of their
own, the last by bins of its own (of the growth rate -r).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.analyses.spectrum.modulus_sums import ModulusSums

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

GROWTH = 1.01
WIDTH = math.log(GROWTH)
#: A bin's centre is within this of every rate counted in it.
RELATIVE_ERROR = GROWTH - 1

#: Edges in degrees of the |phase| bins, closed on the right; phases 0 and 180, those of positive
#: and negative real eigenvalues, have bins of their own.
PHASE_BINS = (0.0, 1.0, *(5.0 * step for step in range(1, 37)))
_NEGATIVE_REAL = len(PHASE_BINS)

#: Bins of all channels held at once while a separable decay is reduced: 4 MB of int64.
_BLOCK = 1 << 19
#: Products reduced at once: float32 counts up to this exactly, and adds several times faster
#: than int64.
_EXACT = 1 << 24
#: Tokens whose products are multiplied out at once, where they must be.
_ROWS = 64


@dataclass(frozen=True)
class Bins:
    """Bins that hold something: decay rates in [low, high) and signed phases in degrees.

    low, high, phase_low, phase_high: (n,). counts: (groups, n). low == high for the exact counters:
    +inf counts |lambda| = 0, 0 counts |lambda| = 1, and -inf an overflow of |lambda|.
    """

    low: np.ndarray
    high: np.ndarray
    phase_low: np.ndarray
    phase_high: np.ndarray
    counts: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """The rate that stands for each bin: its geometric middle."""
        exact = self.low == self.high
        inside = np.sqrt(np.where(exact, 1, self.low * self.high))
        return np.where(exact, self.low, np.copysign(inside, self.high))


def reach_of_bins(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smallest, middle and largest rates > 0 in bins [low, high): half a bin on either side.

    Beyond its edges, that is: two roundings put the products of `add_separable` there.
    """
    half = math.sqrt(GROWTH)
    return low / half, np.sqrt(low * high), high * half


class _LogCounts:
    """Counts (groups, bins) over a window of bin indices that grows as it needs to."""

    def __init__(self, groups: int) -> None:
        self.first = 0
        self.counts = np.zeros((groups, 0), np.int64)

    def add(self, first: int, counts: np.ndarray) -> None:
        """Add `counts` (groups, n), whose first column is bin `first`."""
        if counts.shape[1] == 0:
            return
        if self.counts.shape[1] == 0:
            self.first, self.counts = first, counts.astype(np.int64)
            return
        low = min(self.first, first)
        high = max(self.first + self.counts.shape[1], first + counts.shape[1])
        if (low, high) != (self.first, self.first + self.counts.shape[1]):
            grown = np.zeros((len(self.counts), high - low), np.int64)
            offset = self.first - low
            grown[:, offset : offset + self.counts.shape[1]] = self.counts
            self.first, self.counts = low, grown
        offset = first - self.first
        self.counts[:, offset : offset + counts.shape[1]] += counts


class DecaySketch:
    """Decay rates of `groups` (the heads of a layer, or one group for all of it)."""

    def __init__(self, groups: int = 1) -> None:
        self.groups = groups
        #: Counts by (sign of the rate, phase bin): see `_phase_bin`.
        self._logarithmic: dict[tuple[int, int], _LogCounts] = {}
        #: Counts of |lambda| = 0 and of |lambda| = 1, by phase bin.
        self._exact: dict[tuple[float, int], np.ndarray] = {}
        #: Exact extremes of the decay rate per group.
        self.lowest = np.full(groups, math.inf)
        self.highest = np.full(groups, -math.inf)
        self.moduli = ModulusSums(groups)

    # ---- adding --------------------------------------------------------------------------------

    def add(self, rates: Tensor, phases: Tensor | None = None, multiplicity: int = 1) -> None:
        """Count decay rates (n, groups) and their phases in radians, each `multiplicity` times.

        Raises FloatingPointError where a rate is NaN.
        """
        if rates.numel() == 0:
            return
        low, high = rates.amin(0), rates.amax(0)
        self._widen(low, high)
        self.moduli.add(rates, multiplicity)
        if phases is None:
            if bool((low > 0).all()) and bool(high.isfinite().all()):
                self._add_positive(rates, multiplicity)
            else:
                self._add_phase(0, rates, None, multiplicity)
            return
        bins = _phase_bin(phases)
        for phase in torch.unique(bins).tolist():
            self._add_phase(phase, rates, bins == phase, multiplicity)

    def add_separable(self, step: Tensor, rate: Tensor, multiplicity: int = 1) -> None:
        """Count every product step (n, H) x rate (H, N) in one group, never multiplying them out.

        log(step x rate) is a sum: the histogram of a channel's log steps, shifted by each of its
        log rates, is the histogram of its products.

        Raises FloatingPointError where a product is NaN.
        """
        if step.numel() == 0:
            return
        low, high = step.amin(0), step.amax(0)
        # A step or a rate that under- or overflowed has no logarithm: rare enough to multiply out.
        clean = (low > 0) & high.isfinite() & (rate > 0).all(1) & rate.isfinite().all(1)
        if not bool(clean.all()):
            for rows in step[:, ~clean].split(_ROWS):
                products = rows.unsqueeze(-1) * rate[~clean]
                self.add(products.view(-1, 1), multiplicity=multiplicity)
            step, rate, low, high = step[:, clean], rate[clean], low[clean], high[clean]
        if step.shape[1] == 0:
            return
        self._widen((low * rate.amin(1)).amin()[None], (high * rate.amax(1)).amax()[None])
        for tokens, channels in _blocks(step, rate.shape[1], low, high):
            reach = low[channels].amin(), high[channels].amax()
            first, counts = _shifted_histogram(step[tokens, channels], rate[channels], reach)
            found = counts.cpu().numpy()[None] * multiplicity
            self._window(1, 0).add(first, found)
            edges = GROWTH ** (first + np.arange(found.shape[1] + 1.0))
            self.moduli.add_binned(*reach_of_bins(edges[:-1], edges[1:]), found)

    def merge(self, other: DecaySketch) -> None:
        """Add the counts of another sketch of the same groups."""
        self.lowest = np.minimum(self.lowest, other.lowest)
        self.highest = np.maximum(self.highest, other.highest)
        self.moduli.merge(other.moduli)
        for (sign, phase), window in other._logarithmic.items():
            self._window(sign, phase).add(window.first, window.counts)
        for (rate, phase), counts in other._exact.items():
            self._exact[rate, phase] = self._exact.get((rate, phase), 0) + counts

    def with_total(self) -> DecaySketch:
        """All groups together as the first group, then each."""

        def totalled(values: np.ndarray) -> np.ndarray:
            return np.concatenate([values.sum(0, keepdims=True), values])

        whole = DecaySketch(self.groups + 1)
        whole.lowest = np.concatenate([[self.lowest.min()], self.lowest])
        whole.highest = np.concatenate([[self.highest.max()], self.highest])
        whole.moduli = self.moduli.with_total()
        for (sign, phase), window in self._logarithmic.items():
            whole._window(sign, phase).add(window.first, totalled(window.counts))
        whole._exact = {key: totalled(counts) for key, counts in self._exact.items()}
        return whole

    # ---- reading -------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted."""
        return not self._exact and not self._logarithmic

    def bins(self) -> Bins:
        """Every bin that holds something, by phase and then by rising decay rate."""
        # One column a bin: low, high, phase_low, phase_high.
        edges = [
            np.array([[rate], [rate], *([end] for end in _phase_interval(phase))])
            for rate, phase in self._exact
        ]
        counts = [found[:, None] for found in self._exact.values()]
        for (sign, phase), window in self._logarithmic.items():
            index = np.arange(window.first, window.first + window.counts.shape[1])
            rates = np.sort(
                [sign * GROWTH ** (index + 0.0), sign * GROWTH ** (index + 1.0)], axis=0
            )
            phases = np.repeat(np.array(_phase_interval(phase))[:, None], len(index), axis=1)
            edges.append(np.concatenate([rates, phases]))
            counts.append(window.counts)
        if not edges:
            nothing = np.zeros(0)
            none = np.zeros((self.groups, 0), np.int64)
            return Bins(nothing, nothing, nothing, nothing, none)
        low, high, phase_low, phase_high = np.concatenate(edges, axis=1)
        all_counts = np.concatenate(counts, axis=1)
        order = np.lexsort((high, low, phase_low))
        order = order[all_counts[:, order].any(0)]
        return Bins(
            low[order], high[order], phase_low[order], phase_high[order], all_counts[:, order]
        )

    # ---- inside --------------------------------------------------------------------------------

    def _window(self, sign: int, phase: int) -> _LogCounts:
        return self._logarithmic.setdefault((sign, phase), _LogCounts(self.groups))

    def _widen(self, low: Tensor, high: Tensor) -> None:
        if bool(low.isnan().any()):
            message = "a decay rate is NaN"
            raise FloatingPointError(message)
        self.lowest = np.minimum(self.lowest, low.cpu().double().numpy())
        self.highest = np.maximum(self.highest, high.cpu().double().numpy())

    def _count_exactly(self, rate: float, phase: int, counts: Tensor) -> None:
        if bool(counts.any()):
            before = self._exact.get((rate, phase), 0)
            self._exact[rate, phase] = before + counts.cpu().numpy()

    def _add_positive(self, rates: Tensor, multiplicity: int) -> None:
        """Count ordinary decays, 0 < r < inf with phase 0, which is nearly all there is."""
        index = _bin_index(rates)
        first = int(index.amin())
        bins = int(index.amax()) - first + 1
        flat = index + (torch.arange(self.groups, device=index.device) * bins - first)
        counts = torch.bincount(flat.flatten(), minlength=self.groups * bins)
        self._window(1, 0).add(first, counts.view(self.groups, bins).cpu().numpy() * multiplicity)

    def _add_phase(
        self, phase: int, rates: Tensor, where: Tensor | None, multiplicity: int
    ) -> None:
        here = torch.ones_like(rates, dtype=torch.bool) if where is None else where
        for exact in (0.0, math.inf, -math.inf):
            self._count_exactly(exact, phase, ((rates == exact) & here).sum(0) * multiplicity)
        for sign in (1, -1):
            signed = sign * rates
            counted = (signed > 0) & signed.isfinite() & here
            if bool(counted.any()):
                index = _bin_index(torch.where(counted, signed, 1.0))
                first = int(index[counted].min())
                counts = _grouped_counts(index - first, counted)
                self._window(sign, phase).add(first, counts.cpu().numpy() * multiplicity)


def _log_position(rates: Tensor) -> Tensor:
    """Index of each rate's bin, as floats. It never falls as the rate rises."""
    return rates.log().mul_(1 / WIDTH).floor_()


def _bin_index(rates: Tensor) -> Tensor:
    return _log_position(rates).long()


def _grouped_counts(index: Tensor, counted: Tensor) -> Tensor:
    """Counts (groups, bins) of bin indices (n, groups) where `counted`."""
    groups = index.shape[1]
    bins = int(index[counted].max()) + 1
    flat = index + torch.arange(groups, device=index.device) * bins
    return torch.bincount(flat[counted], minlength=groups * bins).view(groups, bins)


def _blocks(step: Tensor, states: int, low: Tensor, high: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of tokens and channels that are reduced at once: see `_EXACT` and `_BLOCK`."""
    tokens, channels = step.shape
    spread = int((high.amax().log() - low.amin().log()) / WIDTH) + 4
    token_size = max(1, min(tokens, _EXACT // states))
    channel_size = max(1, min(_BLOCK // spread, _EXACT // (token_size * states)))
    for token in range(0, tokens, token_size):
        for channel in range(0, channels, channel_size):
            yield slice(token, token + token_size), slice(channel, channel + channel_size)


def _shifted_histogram(
    step: Tensor, rate: Tensor, reach: tuple[Tensor, Tensor]
) -> tuple[int, Tensor]:
    """First bin and counts of the products of positive step (n, H) and rate (H, N).

    reach: bounds of the steps.
    Each channel's steps are binned once; their histogram is then added at the shift of each of its
    rates, rounded to whole bins. Both roundings together stay within one bin: 1 %.
    """
    index = _log_position(step.float())
    # One bin to spare: the logarithm of one number may round otherwise than that of many.
    first, last = (
        int(_log_position(end.float())) + spare for end, spare in zip(reach, (-1, 1), strict=True)
    )
    channels, bins = step.shape[1], last - first + 1
    index += torch.arange(channels, device=step.device) * bins - first
    # Steps usually come with the tokens of a channel side by side; the order does not matter here.
    histogram = torch.bincount(index.int().mT.flatten(), minlength=channels * bins)
    histogram = histogram.view(channels, bins).float()
    shift = torch.round(rate.float().log() / WIDTH).long()
    lowest = int(shift.min())
    shifts = int(shift.max()) - lowest + 1
    # Row s of `table` collects the histograms of all channels that have a rate at shift s. Padded
    # by as many zeros and read with rows one shorter than they are, row s moves by s bins.
    table = torch.zeros(shifts, bins, device=step.device)
    for state in range(rate.shape[1]):
        table.index_add_(0, shift[:, state] - lowest, histogram)
    padded = torch.nn.functional.pad(table, (0, shifts)).flatten()
    moved = padded[: shifts * (bins + shifts - 1)].view(shifts, bins + shifts - 1)
    return first + lowest, moved.sum(0).long()


def _phase_bin(phases: Tensor) -> Tensor:
    """Signed bin: 0 for phase 0, k for |phase| in (PHASE_BINS[k-1], PHASE_BINS[k]]."""
    degrees = torch.rad2deg(phases.double()).contiguous()
    edges = torch.tensor(PHASE_BINS, dtype=torch.float64, device=phases.device)
    # Rounded to a type, pi may lie a little beyond 180 degrees.
    negative_real = degrees.abs() >= PHASE_BINS[-1]
    bins = torch.bucketize(degrees.abs(), edges) * torch.sign(degrees).long()
    return torch.where(negative_real, _NEGATIVE_REAL, bins)


def _phase_interval(phase: int) -> tuple[float, float]:
    if phase == 0:
        return 0.0, 0.0
    if phase == _NEGATIVE_REAL:
        return PHASE_BINS[-1], PHASE_BINS[-1]
    low, high = PHASE_BINS[abs(phase) - 1], PHASE_BINS[abs(phase)]
    return (low, high) if phase > 0 else (-high, -low)
