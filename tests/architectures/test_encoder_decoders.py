"""Encoder-decoders: their decoders' self-attention, as the eager model of transformers has it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import spectrakit as sk
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import UnsupportedError
from tests.families.base import observe
from tests.support.encoder_decoders import SMALL, TOKENS, WHISPER, made, write


@pytest.fixture(params=SMALL)
def saved(request, tmp_path):
    write(request.param, tmp_path)
    return tmp_path, made(request.param)


def test_weights_and_values_are_those_of_the_eager_model(saved, caplog):
    folder, whole = saved
    with torch.no_grad():
        out = whole(input_ids=TOKENS, decoder_input_ids=TOKENS, output_attentions=True)
    with caplog.at_level(logging.INFO, "spectrakit"), sk.open_checkpoint(str(folder)) as model:
        assert model.unknown_keys == ()
        seen = observe(model, TOKENS)
    assert "its encoder is given the text" in caplog.text
    assert len(seen) == 2
    for (layer, observation), weights in zip(seen, out.decoder_attentions, strict=True):
        assert layer.kind == "softmax_attention"
        assert "decoder" in layer.path
        scores = observation.recurrence.output_map.scores.rows(0, TOKENS.shape[1])
        normaliser = observation.recurrence.log_normaliser.transpose(1, 2).unsqueeze(-1)
        found = (scores - normaliser).exp().float()
        torch.testing.assert_close(found, weights, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            observation.output().float(), observation.outputs.float(), rtol=1e-4, atol=1e-5
        )


def test_every_analysis_that_needs_no_head(saved, tmp_path):
    folder, _ = saved
    np.save(tmp_path / "ids.npy", TOKENS.numpy())
    run = sk.analyze(
        str(folder),
        tokens=tmp_path / "ids.npy",
        analyses=["spectrum", "memory", "lyapunov", "similarity", "propagation"],
    )
    assert run.table("layers")["status"].to_pylist() == ["analysed"] * 2


def test_an_encoder_of_sound_is_given_no_text(tmp_path):
    from transformers import AutoConfig, AutoModel

    with quiet_transformers():
        AutoModel.from_config(AutoConfig.for_model("whisper", **WHISPER)).save_pretrained(tmp_path)
    with sk.open_checkpoint(str(tmp_path)) as model:
        assert {layer.reason for layer in model.layers} == {
            "of a decoder that reads an encoder of sound, which no text is given to"
        }
        with pytest.raises(UnsupportedError, match="hears sound"):
            model.architecture.load(model.checkpoint, "cpu")
