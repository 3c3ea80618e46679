"""A small run's content, the same whenever it is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spectrakit.tables import LAYERS, SPECTRUM, Manifest, Sink

ROOT = Path(__file__).parents[2]
LABELS = {"domain": "discrete", "mode": "nominal", "gauge": "unnormalised"}


def manifest(model_id="state-spaces/mamba-130m", **more):
    return Manifest(**{"model_id": model_id, "revision": "0" * 40, "mode": "weights"} | more)


def spectrum_columns(layer=0, channels=8, states=4):
    rate = np.outer(np.geomspace(1e-3, 0.1, channels), np.arange(1, states + 1)).ravel()
    modulus = np.exp(-rate)
    return {
        "layer": layer,
        "channel": np.repeat(np.arange(channels), states),
        "state": np.tile(np.arange(states), channels),
        **LABELS,
        "re": modulus,
        "im": 0.0,
        "modulus": modulus,
        "phase_deg": 0.0,
        "decay_rate": rate,
        "timescale_steps": 1 / rate,
        "multiplicity": 1,
    }


def layer_columns(layer=0):
    return {
        "layer": layer,
        "path": f"backbone.layers.{layer}.mixer",
        "kind": "mamba",
        "operator": "SeparableDecay",
        "mode": "nominal",
        "gauge": "unnormalised",
        "channels": 8,
        "state_size": 4,
        "status": "analysed",
        "bytes_read": 128,
    }


def fill(sink: Sink, layers=3, channels=8) -> None:
    for layer in range(layers):
        sink.append(LAYERS, LAYERS.table(layer_columns(layer)))
        sink.append(SPECTRUM, SPECTRUM.table(spectrum_columns(layer, channels)))
