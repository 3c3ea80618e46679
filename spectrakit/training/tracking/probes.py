"""Spectra of a live model on a fixed batch of tokens: data mode, as `analyze` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from spectrakit.analyses.base import Request
from spectrakit.analyses.spectrum.analysis import Spectrum
from spectrakit.tables.manifest import Manifest
from spectrakit.tables.run import MemorySink
from spectrakit.tables.schemas import SPECTRUM_SUMMARY

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.mixers import Observation
    from spectrakit.model import Model


def probed(model: Model, tokens: Tensor) -> dict[str, Any] | None:
    """The rows of `spectrum_summary` on `tokens` (B, T), as columns; None where there are none.

    One forward pass; the module is afterwards as it was.
    """
    sink = MemorySink(Manifest(model_id="", revision="", mode="data"))
    spectrum = Spectrum(sink, Request())
    valid = torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device)

    def on_layer(layer: Layer, observation: Observation) -> None:
        recurrence = observation.recurrence
        if recurrence.mode != "data":
            return  # weights tell it without tokens
        for gauge in recurrence.default_gauges:
            spectrum.see(layer, recurrence.in_gauge(gauge), valid.to(observation.inputs.device))

    model.load().run(tokens, on_layer)
    spectrum.finish()
    if SPECTRUM_SUMMARY.name not in sink.run.tables:
        return None
    rows = sink.run.table(SPECTRUM_SUMMARY.name).to_pylist()
    rows = [row for row in rows if row["domain"] == "discrete"]
    names = [column.name for column in SPECTRUM_SUMMARY.columns]
    return {name: [row[name] for row in rows] for name in names} if rows else None
