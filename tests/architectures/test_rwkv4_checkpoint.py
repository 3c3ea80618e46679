"""A trained RWKV-4 of 660K parameters: opt-in, its weights are not part of this repository."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.token_options import TokenOptions
from spectrakit.tokens import bundled_text
from tests.families.base import observe
from tests.mixers.test_mamba import assert_within

NAME = "rwkv4-tiny-660k-hf"
TOKENS = 192


@pytest.fixture(scope="module")
def model():
    folder = Path(os.environ.get("SPECTRAKIT_TEST_CHECKPOINTS", "")) / NAME
    if not folder.is_dir():
        pytest.skip(f"SPECTRAKIT_TEST_CHECKPOINTS names no folder that holds {NAME}")
    with sk.open_checkpoint(str(folder)) as opened:
        yield opened


@pytest.fixture(scope="module")
def text():
    return np.frombuffer(bundled_text().encode()[:TOKENS], np.uint8).astype(np.int64)[None]


def test_every_layer_gives_its_own_output_on_text(model, text):
    seen = observe(model, torch.from_numpy(text))
    assert [layer.kind for layer, _ in seen] == ["rwkv4"] * 4
    for _, observation in seen:
        assert_within(observation.output().float(), observation.outputs, 1e-6)


def test_both_modes_have_the_spectrum_of_the_parameter(model, text, tmp_path):
    np.save(tmp_path / "ids.npy", text)
    options = TokenOptions(tokens=tmp_path / "ids.npy", batch_size=1, seq_len=TOKENS)
    in_weights = sk.analyze(model, mode="weights").table("spectrum").to_pylist()
    in_data = sk.analyze(model, mode="data", source=options).table("spectrum").to_pylist()
    assert in_data == in_weights
    for layer in model.layers:
        (name,) = layer.weights_tensors
        decay = model.checkpoint.read([name])[name].tolist()
        rates = [row["decay_rate"] for row in in_weights if row["layer"] == layer.index]
        assert rates == pytest.approx([math.exp(raw) for raw in decay], rel=1e-13)
