"""Eigenvalue spectra: every distinct eigenvalue from weights, a sketch of them from data.

Weights mode writes `spectrum` as it goes and exact summaries. Data mode pools all valid tokens of
all batches into one sketch of decay rates per layer and per head, and summarises that, in every
gauge that the layer is shown in. The
continuous-time A does not depend on tokens: its eigenvalues are written once in either mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from spectrakit._lazy import lazy_import
from spectrakit.analyses.adding import adding
from spectrakit.analyses.sample_size import QUANTILE_TOKENS, too_few
from spectrakit.analyses.spectrum.options import SpectrumOptions
from spectrakit.analyses.spectrum.query_factor import QueryFactor
from spectrakit.analyses.spectrum.sketch import DecaySketch
from spectrakit.analyses.spectrum.summary import (
    histogram_columns,
    summarise_continuous,
    summarise_exactly,
    summarise_sketch,
)
from spectrakit.analyses.spectrum.token_spread import TokenSpread
from spectrakit.dynamics import SeparableDecay
from spectrakit.errors import AnalysisError
from spectrakit.tables import QUERY_FACTOR, SPECTRUM, SPECTRUM_HISTOGRAM, SPECTRUM_SUMMARY
from spectrakit.wording import given, named

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.analyses.base import Request
    from spectrakit.architectures import Layer
    from spectrakit.dynamics import (
        ContinuousEigenvalues,
        DiscreteEigenvalues,
        Domain,
        Gauge,
        Recurrence,
    )
    from spectrakit.tables import Sink
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: Columns of a table by name: for one row, or the same for all of them.
Row: TypeAlias = dict[str, object]


class Spectrum:
    """The `spectrum` analysis."""

    def __init__(self, sink: Sink, request: Request) -> None:
        self.sink = sink
        self.domains = request.options(SpectrumOptions).domains
        #: By layer and gauge.
        self._seen: dict[tuple[int, Gauge], _LayerSketch] = {}
        self._factors: dict[int, QueryFactor] = {}
        #: Layers of which what is the same for every token has been written: when first seen.
        self._written: set[int] = set()
        self._continuous = False

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Take in one layer's recurrence."""
        if recurrence.mode == "data":
            assert valid is not None  # noqa: S101  (the pipeline's promise in data mode)
            valid = recurrence.carrying(valid)
            key = layer.index, recurrence.gauge
            if key not in self._seen:
                labels = _labels(layer, recurrence, "discrete")
                self._seen[key] = _LayerSketch(labels, recurrence)
                if layer.index not in self._written:
                    self._written.add(layer.index)
                    self._write_continuous(layer, recurrence)
            if "discrete" in self.domains:
                self._count(layer, recurrence, valid)
            return
        if layer.index in self._written:
            return
        self._written.add(layer.index)
        self._write_continuous(layer, recurrence)
        if "discrete" in self.domains:
            self._write_discrete(layer, recurrence)

    def finish(self) -> None:
        """Write the sketches' histograms and summaries, in the order of the layers.

        Raises AnalysisError where there is nothing to write.
        """
        if "discrete" not in self.domains:
            if not self._continuous:
                message = "no layer has a continuous-time A"
                raise AnalysisError(message, hint=given(domain="discrete"))
            return
        for index, gauge in sorted(self._seen, key=lambda key: key[0]):
            seen = self._seen[index, gauge]
            if seen.sketch.is_empty:
                message = f"layer {index}: no token has a token before it, so nothing was counted"
                hint = f"a longer text, or a larger {named('max_tokens')} or {named('seq_len')}"
                raise AnalysisError(message, hint=hint)
            sketch = seen.by_head()
            columns = seen.labels | summarise_sketch(sketch) | {"head": _heads(sketch)}
            columns |= {"tokens": seen.tokens, "sequences": seen.sequences}
            columns |= {"token_spread": seen.spread_by_head()}
            self.sink.append(SPECTRUM_SUMMARY, SPECTRUM_SUMMARY.table(columns))
            self._write_histogram(seen.labels, sketch)
        for index in sorted(self._factors):
            columns = self._factors[index].columns() | {"layer": index}
            self.sink.append(QUERY_FACTOR, QUERY_FACTOR.table(columns))

    def warnings(self) -> Iterator[str]:
        """Where the outer quantiles rest on very few tokens."""
        tokens = min((seen.tokens for seen in self._seen.values()), default=QUANTILE_TOKENS)
        why = "the 5% and 95% quantiles need (ten beyond each)"
        return too_few("spectrum", tokens, QUANTILE_TOKENS, "tokens", why)

    def _count(self, layer: Layer, recurrence: Recurrence, valid: Tensor) -> None:
        with adding(layer, recurrence, valid):
            self._seen[layer.index, recurrence.gauge].add(recurrence, valid)
            if recurrence.gauge == "retained":
                heads = recurrence.operator.heads
                factor = self._factors.setdefault(layer.index, QueryFactor(heads))
                factor.add(recurrence, valid)

    def _write_discrete(self, layer: Layer, recurrence: Recurrence) -> None:
        eigenvalues = recurrence.eigenvalues()
        labels = _labels(layer, recurrence, "discrete")
        columns = labels | _positions(recurrence, eigenvalues.log_modulus.shape)
        self.sink.append(SPECTRUM, SPECTRUM.table(columns | _discrete_columns(eigenvalues)))
        seen = _LayerSketch(labels, recurrence)
        seen.count(eigenvalues)
        sketch = seen.by_head()
        parts = [eigenvalues if h is None else eigenvalues.head(h) for h in _heads(sketch)]
        summaries = [summarise_exactly(part) for part in parts]
        summary = {name: np.array([row[name] for row in summaries]) for name in summaries[0]}
        columns = labels | summary | {"head": _heads(sketch)}
        columns |= {"token_spread": 0.0 if recurrence.mode == "static" else None}
        self.sink.append(SPECTRUM_SUMMARY, SPECTRUM_SUMMARY.table(columns))
        self._write_histogram(labels, sketch)

    def _write_continuous(self, layer: Layer, recurrence: Recurrence) -> None:
        eigenvalues = recurrence.continuous_eigenvalues()
        if "continuous" not in self.domains or eigenvalues is None:
            return
        self._continuous = True
        labels = _labels(layer, recurrence, "continuous")
        columns = labels | _positions(recurrence, eigenvalues.values.shape)
        columns |= _continuous_columns(eigenvalues)
        self.sink.append(SPECTRUM, SPECTRUM.table(columns))
        summary = labels | {"head": None} | summarise_continuous(eigenvalues)
        self.sink.append(SPECTRUM_SUMMARY, SPECTRUM_SUMMARY.table(summary, rows=1))

    def _write_histogram(self, labels: Row, sketch: DecaySketch) -> None:
        """The bins of one layer: all of it (head null), and each head."""
        group, bins = histogram_columns(sketch)
        heads = _heads(sketch)
        columns = labels | bins | {"head": [heads[index] for index in group]}
        self.sink.append(SPECTRUM_HISTOGRAM, SPECTRUM_HISTOGRAM.table(columns))


class _LayerSketch:
    """The sketch of one layer: by head where it has heads, in one group where it has channels."""

    def __init__(self, labels: Row, recurrence: Recurrence) -> None:
        self.labels = labels
        self._per_head = recurrence.head_axis == "head"
        self.tokens = self.sequences = 0
        self.sketch = DecaySketch(recurrence.operator.heads if self._per_head else 1)
        self.spread = TokenSpread(recurrence.operator.heads)

    def add(self, recurrence: Recurrence, valid: Tensor) -> None:
        """Count the eigenvalues of the valid tokens."""
        self.tokens += int(valid.sum())
        self.sequences += int(valid.any(-1).sum())
        operator = recurrence.operator
        if isinstance(operator, SeparableDecay) and not self._per_head:
            steps = _of_valid(operator.step, valid)
            self.sketch.add_separable(steps, operator.rate, recurrence.width)
            scale = operator.rate.mean(-1)
            # What multiplies all rates of a channel does not spread them, unless it is no decay.
            self.spread.add(steps if bool((scale > 0).all()) else steps * scale)
        else:
            eigenvalues = recurrence.eigenvalues()
            self.count(eigenvalues, valid)
            self.spread.add(_of_valid(eigenvalues.mean_decay_rate, valid))

    def count(self, eigenvalues: DiscreteEigenvalues, valid: Tensor | None = None) -> None:
        """Count eigenvalues (..., H, K), of the valid tokens only."""
        for part, copies in eigenvalues.by_multiplicity():
            rates, phases = part.decay_rate, part.phase
            if valid is not None:
                rates = _of_valid(rates, valid)
                phases = None if phases is None else _of_valid(phases, valid)
            phases = None if phases is None else self._by_group(phases)
            self.sketch.add(self._by_group(rates), phases, copies)

    def by_head(self) -> DecaySketch:
        """The whole layer as the first group, then each head; see `_heads`."""
        return self.sketch.with_total() if self._per_head else self.sketch

    def spread_by_head(self) -> np.ndarray:
        """Of the same groups: how far the decay rate of each depends on the token."""
        whole = np.array([self.spread.of_all()])
        return np.append(whole, self.spread.by_unit()) if self._per_head else whole

    def _by_group(self, values: Tensor) -> Tensor:
        """(..., H, K) -> (n K, H) where heads are kept apart, (n H K, 1) where they are not."""
        if not self._per_head:
            return values.reshape(-1, 1)
        return values.transpose(-1, -2).reshape(-1, values.shape[-2])


def _of_valid(values: Tensor, valid: Tensor) -> Tensor:
    """(B, T, ...) -> (n, ...): what belongs to the n valid tokens."""
    # Picking is a copy, and costs a third of the sketch where nothing is padded.
    return values.flatten(0, 1) if bool(valid.all()) else values[valid]


def _heads(sketch: DecaySketch) -> list[int | None]:
    """The head column of a sketch whose first group is the whole layer."""
    return [None, *range(sketch.groups - 1)]


def _labels(layer: Layer, recurrence: Recurrence, domain: Domain) -> Row:
    return {
        "layer": layer.index,
        "domain": domain,
        # The continuous-time A is a parameter: it depends neither on tokens nor on a bias.
        "mode": "static" if domain == "continuous" else recurrence.mode,
        "gauge": recurrence.gauge,
    }


def _positions(recurrence: Recurrence, shape: Sequence[int]) -> Row:
    """The head, channel and state columns of eigenvalues (H, K)."""
    heads, distinct = shape
    index = np.repeat(np.arange(heads, dtype=np.int32), distinct)
    # One eigenvalue for all N states is no state's own.
    one_per_state = distinct == recurrence.operator.state_size
    return {
        "head": index if recurrence.head_axis == "head" else None,
        "channel": index if recurrence.head_axis == "channel" else None,
        "state": np.tile(np.arange(distinct, dtype=np.int32), heads) if one_per_state else None,
    }


def _discrete_columns(eigenvalues: DiscreteEigenvalues) -> Row:
    rate = eigenvalues.decay_rate.double().flatten().numpy()
    with np.errstate(divide="ignore", over="ignore"):
        modulus, timescale = np.exp(-rate), np.where(rate > 0, 1 / rate, np.inf)
    heads = eigenvalues.log_modulus.numel() // eigenvalues.log_modulus.shape[-1]
    columns: dict[str, object] = {"re": modulus, "im": 0.0, "phase_deg": 0.0}
    if eigenvalues.phase is not None:
        phase = eigenvalues.phase.double().flatten().numpy()
        columns = {
            "re": modulus * np.cos(phase),
            # An exactly real eigenvalue stays so, however large.
            "im": np.where(phase == 0, 0.0, modulus) * np.sin(phase),
            "phase_deg": np.degrees(phase),
        }
    bound = eigenvalues.error_bound
    return columns | {
        "modulus": modulus,
        "decay_rate": rate,
        "timescale_steps": timescale,
        "multiplicity": np.tile(eigenvalues.multiplicities, heads),
        "error_bound": None if bound is None else bound.flatten().numpy(),
    }


def _continuous_columns(eigenvalues: ContinuousEigenvalues) -> Row:
    values = eigenvalues.values.flatten()
    imaginary = values.imag.double().numpy() if values.is_complex() else 0.0
    bound = eigenvalues.error_bound
    return {
        "re": values.real.double().numpy(),
        "im": imaginary,
        "decay_rate": -values.real.double().numpy(),
        "multiplicity": eigenvalues.multiplicity,
        "error_bound": None if bound is None else bound.double().flatten().numpy(),
    }
