"""Tokenizers as files hold them: what is stored beside the vocabulary must not change the text."""

from __future__ import annotations

import json
import shutil
from itertools import product

import numpy as np
import pytest

import spectrakit as sk
from spectrakit.errors import MalformedError
from spectrakit.token_options import TokenOptions
from spectrakit.tokenization import encoder, encoder_with_ends
from spectrakit.tokens import token_batches
from tests.conftest import CHECKPOINTS

TEXT = "To be, or not to be, that is the question. " * 5


def padding(strategy, direction):
    return {"strategy": strategy, "direction": direction, "pad_to_multiple_of": 8, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip


def truncation(direction):
    return {"max_length": 5, "strategy": "LongestFirst", "direction": direction, "stride": 0}


STORED = [
    *({"padding": padding(strategy, direction)}
      for strategy, direction in product([{"Fixed": 400}, "BatchLongest"], ["Left", "Right"])),
    *({"truncation": truncation(direction)} for direction in ("Left", "Right")),
    {"padding": padding({"Fixed": 400}, "Left"), "truncation": truncation("Left")},
]  # fmt: skip


@pytest.fixture(params=STORED, ids=str)
def padded_model(request, tmp_path):
    """tiny-llama with a tokenizer.json, of bytes, that pads or cuts."""
    shutil.copytree(CHECKPOINTS / "tiny-llama", tmp_path / "m")
    path = tmp_path / "m" / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | request.param))
    with sk.open_checkpoint(str(tmp_path / "m")) as model:
        yield model


def test_a_text_is_neither_padded_nor_cut(padded_model, tmp_path):
    (tmp_path / "t.txt").write_text(TEXT)
    own, *named = None, str(tmp_path / "m"), str(tmp_path / "m" / "tokenizer.json")
    for name in (own, *named):
        options = TokenOptions(text=str(tmp_path / "t.txt"), tokenizer=name)
        found = list(token_batches(options, padded_model, 256))
        assert bytes(np.concatenate([b.ids[b.valid] for b in found]).tolist()) == TEXT.encode()
        # prompts, and the texts that two models are compared on
        assert bytes(encoder(name, padded_model)("yes")) == b"yes"
        ids, ends = encoder_with_ends(name, padded_model)("yes")
        assert (bytes(ids), ends) == (b"yes", [1, 2, 3])


def test_a_text_is_the_same_tokens_every_time(tmp_path):
    shutil.copytree(CHECKPOINTS / "tiny-llama", tmp_path / "m")
    path = tmp_path / "m" / "tokenizer.json"
    merged = {"type": "BPE", "dropout": 0.5, "vocab": {"a": 0, "b": 1, "ab": 2},
              "merges": [["a", "b"]]}  # fmt: skip
    plain = {"pre_tokenizer": None, "post_processor": None, "decoder": None, "normalizer": None}
    path.write_text(json.dumps(json.loads(path.read_text()) | plain | {"model": merged}))
    with sk.open_checkpoint(str(tmp_path / "m")) as model:
        assert list(encoder(None, model)("ab" * 50)) == [2] * 50


def test_a_text_that_the_tokenizer_cannot_encode(tmp_path):
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[UNK]"}
    stored = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    stored |= {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}}
    (tmp_path / "t.json").write_text(json.dumps(stored | {"model": model}))
    with sk.open_checkpoint("tiny-mamba") as opened:
        for make in (encoder, encoder_with_ends):
            encode = make(str(tmp_path / "t.json"), opened)
            encode("a a")
            with pytest.raises(MalformedError, match=r"t.json cannot encode the text: .*\[UNK\]"):
                encode("b")
