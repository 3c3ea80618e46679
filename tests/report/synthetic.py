"""Runs with made-up spectra of known shape, for the report's tests and for looking at."""

from __future__ import annotations

from functools import cache

import numpy as np

from spectrakit.tables import (
    LAYERS,
    SPECTRUM,
    SPECTRUM_HISTOGRAM,
    SPECTRUM_SUMMARY,
    Manifest,
    MemorySink,
    Run,
)
from spectrakit.tables.schemas import (
    MODULUS_SHARES,
    PHASE_EDGES,
    PHASE_SHARES,
    QUANTILES,
    RADIUS_EDGES,
    bound_name,
    quantile_names,
)

_GROWTH = 1.01
_SHA = "d4b3c9f0a1e27b5c8d9e0f1a2b3c4d5e6f708192"


class SyntheticRun:
    """Collects layers and makes a `Run` of them."""

    def __init__(self, model_id: str, mode: str = "weights", revision: str = _SHA) -> None:
        self.sink = MemorySink(Manifest(model_id=model_id, revision=revision, mode=mode))
        self._layers: list[dict[str, object]] = []

    def layer(self, rate, phase=0.0, *, mode="nominal", gauge="unnormalised", kind="mamba",
              state_size=16, multiplicity=1, exact=True, new_layer=True):  # fmt: skip
        """A layer with discrete eigenvalues exp(-rate + i phase), or the last in another gauge."""
        rate = np.asarray(rate, float).ravel()
        phase = np.broadcast_to(phase, rate.shape)
        labels = self._label("discrete", mode, gauge, new_layer=new_layer)
        if new_layer:
            self._list(kind, mode, gauge, state_size)
        if exact:
            value = np.exp(-rate + 1j * phase)
            with np.errstate(divide="ignore"):
                timescale = 1 / rate
            columns = {
                "re": value.real, "im": value.imag, "modulus": abs(value), "decay_rate": rate,
                "phase_deg": np.degrees(phase), "timescale_steps": timescale,
                "multiplicity": multiplicity,
            }  # fmt: skip
            self.sink.append(SPECTRUM, SPECTRUM.table(labels | columns))
        self.sink.append(SPECTRUM_HISTOGRAM, _histogram(labels, rate, phase, multiplicity))
        self.sink.append(SPECTRUM_SUMMARY, _summary(labels, rate, phase, multiplicity, exact=exact))
        return self

    def continuous(self, values, *, mode="nominal", gauge="unnormalised", kind="mamba",
                   state_size=16, new_layer=True):  # fmt: skip
        """A layer with continuous-time eigenvalues."""
        values = np.asarray(values, complex).ravel()
        if new_layer:
            self._list(kind, mode, gauge, state_size)
        labels = self._label("continuous", mode, gauge, new_layer=new_layer)
        columns = {"re": values.real, "im": values.imag, "decay_rate": -values.real,
                   "multiplicity": 1}  # fmt: skip
        self.sink.append(SPECTRUM, SPECTRUM.table(labels | columns))
        rates = np.quantile(-values.real, QUANTILES)
        summary = {
            "head": None, "count": len(values), "spectral_abscissa": values.real.max(),
            "stable": values.real.max() < 0, "relative_error": 0.0,
        }  # fmt: skip
        summary |= dict(zip(quantile_names("decay_rate"), rates, strict=True))
        self.sink.append(SPECTRUM_SUMMARY, SPECTRUM_SUMMARY.table(labels | summary, rows=1))
        return self

    def absent(self, kind="attention", status="unsupported", reason="nothing here reads attention"):
        """A layer without a spectrum."""
        self._list(kind, None, None, None, status=status, reason=reason)
        return self

    @property
    def run(self) -> Run:
        for layer in self._layers:
            self.sink.append(LAYERS, LAYERS.table(layer, rows=1))
        self._layers = []
        return self.sink.run

    def _label(self, domain, mode, gauge, *, new_layer=True):
        index = len(self._layers) if new_layer and domain == "discrete" else len(self._layers) - 1
        return {"layer": index, "domain": domain, "mode": mode, "gauge": gauge}

    def _list(self, kind, mode, gauge, state_size, *, status="analysed", reason=None):
        index = len(self._layers)
        self._layers.append({
            "layer": index, "path": f"backbone.layers.{index}.mixer", "kind": kind, "mode": mode,
            "gauge": gauge, "state_size": state_size, "status": status, "reason": reason,
            "bytes_read": 0,
        })  # fmt: skip


def _summary(labels, rate, phase, multiplicity, *, exact):
    degrees = np.abs(np.degrees(phase))
    with np.errstate(divide="ignore", over="ignore"):
        modulus, timescale = np.exp(-rate), 1 / rate
    columns = {
        "head": None, "count": len(rate) * multiplicity, "spectral_radius": modulus.max(),
        "spectral_radius_bound": 0.0, "stable": modulus.max() < 1,
        "mean_modulus": modulus.mean(), "mean_modulus_bound": 0.0,
        "relative_error": 0.0 if exact else 0.01,
    }  # fmt: skip
    for stem, values in (("modulus", modulus), ("timescale", timescale), ("decay_rate", rate)):
        quantiles = np.quantile(values, QUANTILES, method="inverted_cdf")
        columns |= dict(zip(quantile_names(stem), quantiles, strict=True))
    for names, edges, values in (
        (MODULUS_SHARES, RADIUS_EDGES, modulus),
        (PHASE_SHARES, PHASE_EDGES, degrees),
    ):
        bins = np.searchsorted(edges[1:], values, side="left").clip(0, len(names) - 1)
        for index, name in enumerate(names):
            columns |= {name: (bins == index).mean(), bound_name(name): 0.0 if exact else 0.004}
    return SPECTRUM_SUMMARY.table(labels | columns, rows=1)


def _histogram(labels, rate, phase, multiplicity):
    index = np.floor(np.log(np.abs(np.where(np.isfinite(rate) & (rate != 0), rate, 1)))
                     / np.log(_GROWTH))  # fmt: skip
    low, high = _GROWTH**index, _GROWTH ** (index + 1)
    low, high = np.where(rate < 0, -high, low), np.where(rate < 0, -low, high)
    special = ~np.isfinite(rate) | (rate == 0)
    low, high = np.where(special, rate, low), np.where(special, rate, high)
    degrees = np.degrees(phase)
    upper = np.where(degrees == 0, 0, np.ceil(np.abs(degrees) / 5) * 5)
    phase_low = np.where(degrees < 0, -upper, np.where(upper > 0, upper - 5, 0))
    phase_high = np.where(degrees < 0, 5 - upper, upper)
    bins, counts = np.unique(
        np.stack([low, high, phase_low, phase_high]), axis=1, return_counts=True
    )
    names = ("decay_rate_low", "decay_rate_high", "phase_low_deg", "phase_high_deg")
    columns = dict(zip(names, bins, strict=True)) | {"count": counts * multiplicity}
    return SPECTRUM_HISTOGRAM.table(labels | columns)


def mamba(layers=24, channels=1536, states=16, seed=0) -> Run:
    """Mamba at its initialisation: A = -(1..16), dt log-uniform in [.001, .1], and some spread."""
    random = np.random.default_rng(seed)
    made = SyntheticRun("state-spaces/mamba-130m")
    for index in range(layers):
        dt = np.exp(random.uniform(np.log(1e-3), np.log(0.1), channels))
        A = np.arange(1, states + 1) * np.exp(0.3 * random.standard_normal((channels, states)))
        dt = dt * np.exp(
            1.5 * (index / max(layers - 1, 1) - 0.5) * random.standard_normal(channels)
        )
        made.layer(dt[:, None] * A)
    return made.run


def mamba2(layers=64, heads=80, seed=1) -> Run:
    """Mamba-2: one real decay per head, many times over."""
    random = np.random.default_rng(seed)
    made = SyntheticRun("state-spaces/mamba2-2.7b")
    for _ in range(layers):
        dt = np.exp(random.uniform(np.log(1e-3), np.log(0.1), heads))
        made.layer(dt * random.uniform(1, 16, heads), kind="mamba2", state_size=128,
                   multiplicity=64 * 128)  # fmt: skip
    return made.run


def s4d(layers=6, channels=256, states=32, seed=2) -> Run:
    """S4D-Lin: A = -1/2 +- i pi n, dt log-uniform in [.001, .1]: a ring of conjugate pairs."""
    random = np.random.default_rng(seed)
    made = SyntheticRun("me/s4d-lra-image")
    for _ in range(layers):
        dt = np.exp(random.uniform(np.log(1e-3), np.log(0.1), (channels, 1)))
        phase = dt * np.pi * np.arange(states)
        phase = (phase + np.pi) % (2 * np.pi) - np.pi
        rate = 0.5 * dt * np.ones((1, states))
        made.layer(np.stack([rate, rate]), np.stack([phase, -phase]).ravel(), mode="static",
                   kind="s4d", state_size=2 * states)  # fmt: skip
    return made.run


def unstable(layers=3, seed=3) -> Run:
    """An LRU-like ring that leaks out of the disc in its last layer."""
    random = np.random.default_rng(seed)
    made = SyntheticRun("me/lru-diverged")
    for index in range(layers):
        modulus = random.uniform(0.8, 0.99 + 0.09 * index, 512)
        phase = random.uniform(-np.pi, np.pi, 512)
        made.layer(-np.log(modulus), phase, mode="static", kind="lru", state_size=512)
    return made.run


def attention(layers=12, tokens=4000, seed=4) -> Run:
    """Softmax attention on data, in its gauge: all positive, on both sides of 1."""
    random = np.random.default_rng(seed)
    made = SyntheticRun("openai-community/gpt2", mode="data")
    for index in range(layers):
        log_modulus = random.standard_normal(tokens) * (0.02 + 0.4 * index / layers)
        log_modulus[: tokens // 10] = 0
        log_modulus[-3:] = -np.inf
        made.layer(-log_modulus - 0.05, mode="data", gauge="dsf", kind="softmax_attention",
                   state_size=None, exact=False)  # fmt: skip
    return made.run


def hybrid(seed=5) -> Run:
    """Mamba-2 layers with attention between them that cannot be read."""
    random = np.random.default_rng(seed)
    made = SyntheticRun("state-spaces/mamba2attn-2.7b")
    for index in range(16):
        if index % 6 == 5:
            made.absent()
            continue
        dt = np.exp(random.uniform(np.log(1e-3), np.log(0.1), 80))
        made.layer(dt * random.uniform(1, 16, 80), kind="mamba2", state_size=128)
    return made.run


def s4d_continuous(layers=4, states=32) -> Run:
    """S4D in continuous time."""
    made = SyntheticRun("me/s4d-lra-image")
    for index in range(layers):
        made.continuous((-0.5 - 0.2 * index) + 1j * np.pi * np.arange(-states, states),
                        mode="static", kind="s4d", state_size=64)  # fmt: skip
    return made.run


def mamba_continuous(layers=24, channels=64, states=16, seed=6) -> Run:
    """Mamba's A before it is discretised: real, near -(1..16)."""
    random = np.random.default_rng(seed)
    made = SyntheticRun("state-spaces/mamba-130m")
    for _ in range(layers):
        made.continuous(-np.arange(1, states + 1)
                        * np.exp(0.3 * random.standard_normal((channels, states))))  # fmt: skip
    return made.run


def tiny() -> Run:
    """Three layers."""
    return mamba(layers=3, channels=192)


def everything(seed=7) -> Run:
    """Timescales over ten decades, with |lambda| = 0, = 1 and > 1, and phases in data mode."""
    random = np.random.default_rng(seed)
    made = SyntheticRun("/home/someone/checkpoints/runs/2026-11-22/ablation-with-a-long-name/final",
                        mode="data")  # fmt: skip
    for _ in range(5):
        rate = 10 ** random.uniform(-8, 3, 4000)
        rate[:100], rate[100:200], rate[200:300] = 0, np.inf, -rate[200:300] / 1e3
        phase = np.where(random.random(4000) < 0.5, 0, random.uniform(-np.pi, np.pi, 4000))
        made.layer(rate, phase, mode="data", kind="mamba3", exact=False)
    return made.run


EVERY = {
    made.__name__: cache(made)
    for made in (
        tiny, mamba, mamba2, s4d, unstable, attention, hybrid, s4d_continuous, mamba_continuous,
        everything,
    )
}  # fmt: skip
