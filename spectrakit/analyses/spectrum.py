"""Eigenvalue spectra: every distinct eigenvalue from weights, a sketch of them from data.

Weights mode writes `spectrum` as it goes and exact summaries. Data mode pools all valid tokens of
all batches into one sketch of decay rates per layer and per head, and summarises that. The
continuous-time A does not depend on tokens: its eigenvalues are written once in either mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from spectrakit._lazy import lazy_import
from spectrakit._threads import one_thread
from spectrakit.analyses.sketch import DecaySketch
from spectrakit.analyses.spectrum_summary import (
    histogram_columns,
    summarise_continuous,
    summarise_exactly,
    summarise_sketch,
)
from spectrakit.dynamics import SeparableDecay
from spectrakit.tables import SPECTRUM, SPECTRUM_HISTOGRAM, SPECTRUM_SUMMARY

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.dynamics import (
        ContinuousEigenvalues,
        DiscreteEigenvalues,
        Domain,
        Recurrence,
    )
    from spectrakit.tables import Sink
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")


class Spectrum:
    """The `spectrum` analysis."""

    name: ClassVar[str] = "spectrum"

    def __init__(self, sink: Sink, domains: Sequence[Domain]) -> None:
        self.sink = sink
        self.domains = tuple(domains)
        self._seen: dict[int, _LayerSketch] = {}

    def see(self, layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> None:
        """Take in one layer's recurrence."""
        if recurrence.mode == "data":
            assert valid is not None  # noqa: S101  (the pipeline's promise in data mode)
            if layer.index not in self._seen:
                self._seen[layer.index] = _LayerSketch(layer, recurrence)
                self._write_continuous(layer, recurrence)
            if "discrete" in self.domains:
                with one_thread():
                    self._seen[layer.index].add(recurrence, valid)
            return
        self._write_continuous(layer, recurrence)
        if "discrete" in self.domains:
            self._write_discrete(layer, recurrence)

    def merge(self, other: Self) -> None:
        """Take in what `other` saw of the same model on other tokens."""
        for index, sketch in other._seen.items():
            if index in self._seen:
                self._seen[index].sketch.merge(sketch.sketch)
            else:
                self._seen[index] = sketch

    def finish(self) -> None:
        """Write the sketches' histograms and summaries, in the order of the layers."""
        if "discrete" not in self.domains:
            return
        for index in sorted(self._seen):
            seen = self._seen[index]
            for head, sketch in seen.by_head():
                labels = seen.labels | {"head": head}
                self._write_histogram(labels, sketch)
                summary = summarise_sketch(sketch)
                self.sink.append(SPECTRUM_SUMMARY, SPECTRUM_SUMMARY.table(labels | summary, rows=1))

    def _write_discrete(self, layer: Layer, recurrence: Recurrence) -> None:
        eigenvalues = recurrence.eigenvalues()
        labels = _labels(layer, recurrence, "discrete")
        columns = labels | _positions(recurrence, eigenvalues.log_modulus.shape)
        self.sink.append(SPECTRUM, SPECTRUM.table(columns | _discrete_columns(eigenvalues)))
        for head, part in _heads(recurrence, eigenvalues):
            summary = labels | {"head": head} | summarise_exactly(part)
            self.sink.append(SPECTRUM_SUMMARY, SPECTRUM_SUMMARY.table(summary, rows=1))
            sketch = DecaySketch()
            phase = None if part.phase is None else part.phase.reshape(-1, 1)
            sketch.add(part.decay_rate.double().reshape(-1, 1), phase, part.multiplicity)
            self._write_histogram(labels | {"head": head}, sketch)

    def _write_continuous(self, layer: Layer, recurrence: Recurrence) -> None:
        eigenvalues = recurrence.continuous_eigenvalues()
        if "continuous" not in self.domains or eigenvalues is None:
            return
        labels = _labels(layer, recurrence, "continuous")
        columns = labels | _positions(recurrence, eigenvalues.values.shape)
        columns |= _continuous_columns(eigenvalues)
        self.sink.append(SPECTRUM, SPECTRUM.table(columns))
        summary = labels | {"head": None} | summarise_continuous(eigenvalues)
        self.sink.append(SPECTRUM_SUMMARY, SPECTRUM_SUMMARY.table(summary, rows=1))

    def _write_histogram(self, labels: dict[str, object], sketch: DecaySketch) -> None:
        columns = labels | histogram_columns(sketch)
        self.sink.append(SPECTRUM_HISTOGRAM, SPECTRUM_HISTOGRAM.table(columns))


class _LayerSketch:
    """What data mode keeps of one layer."""

    def __init__(self, layer: Layer, recurrence: Recurrence) -> None:
        self.labels = _labels(layer, recurrence, "discrete")
        self._per_head = recurrence.head_axis == "head"
        self.sketch = DecaySketch(recurrence.operator.heads if self._per_head else 1)

    def add(self, recurrence: Recurrence, valid: Tensor) -> None:
        """Count the eigenvalues of the valid tokens."""
        operator = recurrence.operator
        if isinstance(operator, SeparableDecay) and not self._per_head:
            self.sketch.add_separable(operator.step[valid], operator.rate, recurrence.width)
            return
        eigenvalues = recurrence.eigenvalues()
        rates = eigenvalues.decay_rate[valid]
        phases = None if eigenvalues.phase is None else eigenvalues.phase[valid]
        self.sketch.add(
            self._by_group(rates),
            None if phases is None else self._by_group(phases),
            eigenvalues.multiplicity,
        )

    def by_head(self) -> Iterator[tuple[int | None, DecaySketch]]:
        """The whole layer (None), then each head."""
        yield None, self.sketch.pooled()
        if self._per_head:
            for head in range(self.sketch.groups):
                yield head, self.sketch.group(head)

    def _by_group(self, values: Tensor) -> Tensor:
        """(n, H, K) -> (n K, H) where heads are kept apart, (n H K, 1) where they are not."""
        if not self._per_head:
            return values.reshape(-1, 1)
        return values.transpose(1, 2).reshape(-1, values.shape[1])


def _labels(layer: Layer, recurrence: Recurrence, domain: Domain) -> dict[str, object]:
    return {
        "layer": layer.index,
        "domain": domain,
        "mode": recurrence.mode,
        "gauge": recurrence.gauge,
    }


def _heads(
    recurrence: Recurrence, eigenvalues: DiscreteEigenvalues
) -> Iterator[tuple[int | None, DiscreteEigenvalues]]:
    """The whole layer (None), then each head where the layer has heads."""
    yield None, eigenvalues
    if recurrence.head_axis == "head":
        for head in range(recurrence.operator.heads):
            yield head, eigenvalues.head(head)


def _positions(recurrence: Recurrence, shape: Sequence[int]) -> dict[str, object]:
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


def _discrete_columns(eigenvalues: DiscreteEigenvalues) -> dict[str, object]:
    rate = eigenvalues.decay_rate.double().flatten().numpy()
    with np.errstate(divide="ignore", over="ignore"):
        modulus, timescale = np.exp(-rate), 1 / rate
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
        "multiplicity": eigenvalues.multiplicity,
        "error_bound": None if bound is None else bound.flatten().numpy(),
    }


def _continuous_columns(eigenvalues: ContinuousEigenvalues) -> dict[str, object]:
    values = eigenvalues.values.flatten()
    imaginary = values.imag.double().numpy() if values.is_complex() else 0.0
    return {
        "re": values.real.double().numpy(),
        "im": imaginary,
        "decay_rate": -values.real.double().numpy(),
        "multiplicity": eigenvalues.multiplicity,
    }
