"""Encoder-decoders: their decoders' self-attention is listed with the reason, and never run."""

from __future__ import annotations

import pytest

import spectrakit as sk
from spectrakit.errors import UnsupportedError

SMALL = {
    "bart": {
        "vocab_size": 40, "d_model": 8, "encoder_layers": 3, "decoder_layers": 2,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8,
        "decoder_ffn_dim": 8, "max_position_embeddings": 16,
    },
    "t5": {
        "vocab_size": 40, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 3,
        "num_decoder_layers": 2, "num_heads": 2,
    },
    "whisper": {
        "vocab_size": 40, "d_model": 8, "encoder_layers": 3, "decoder_layers": 2,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8,
        "decoder_ffn_dim": 8, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
        "decoder_start_token_id": 0, "max_source_positions": 8, "max_target_positions": 8,
    },
}  # fmt: skip


@pytest.fixture(params=SMALL)
def folder(request, tmp_path):
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(request.param, **SMALL[request.param])
    AutoModel.from_config(config).save_pretrained(tmp_path)
    return tmp_path


def test_the_decoder_is_listed_and_told_why_it_is_not_read(folder):
    with sk.open_checkpoint(str(folder)) as model:
        assert model.architecture.name == "transformers-encoder-decoder"
        assert [layer.kind for layer in model.layers] == ["softmax_attention"] * 2
        assert {layer.reason for layer in model.layers} == {
            "of a decoder that reads an encoder: nothing here runs the two together"
        }
        assert all("decoder" in layer.path for layer in model.layers)
        assert model.unknown_keys == ()
        with pytest.raises(UnsupportedError, match="is an encoder-decoder"):
            model.load()
        with pytest.raises(UnsupportedError):
            sk.analyze(model)
