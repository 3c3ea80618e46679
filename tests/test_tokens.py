"""Token batches: what is streamed, in which pieces, and what cannot be."""

from __future__ import annotations

import io
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectrakit as sk
from spectrakit.errors import MalformedError, UsageError
from spectrakit.token_options import TokenOptions
from spectrakit.tokens import _blocks, bundled_text, token_batches
from tests.conftest import CHECKPOINTS


@pytest.fixture(scope="module")
def model():
    with sk.open_checkpoint(str(CHECKPOINTS / "tiny-mamba")) as opened:
        yield opened


def batches(model, vocabulary=256, **options):
    return list(token_batches(TokenOptions(**options), model, vocabulary))


def flat(found):
    return np.concatenate([batch.ids[batch.valid] for batch in found])


def test_the_bundled_text_is_what_the_models_were_not_trained_on(model):
    text = bundled_text()
    assert len(text) == 111_540
    found = batches(model, batch_size=2, seq_len=100, max_tokens=1000)
    assert [batch.ids.shape for batch in found] == [(2, 100)] * 5
    assert bytes(flat(found).astype(np.uint8)).decode() == text[:1000]


@given(
    length=st.integers(1, 300),
    batch_size=st.integers(1, 4),
    seq_len=st.integers(1, 50),
    max_tokens=st.integers(1, 400),
)
def test_every_token_comes_once_and_in_order(tmp_path_factory, model, length, batch_size,
                                             seq_len, max_tokens):  # fmt: skip
    path = tmp_path_factory.mktemp("tokens") / "t.npy"
    np.save(path, np.arange(length) % 256)
    found = batches(model, tokens=path, batch_size=batch_size, seq_len=seq_len,
                    max_tokens=max_tokens)  # fmt: skip
    np.testing.assert_array_equal(flat(found), (np.arange(length) % 256)[:max_tokens])
    for batch in found:
        assert batch.ids.shape == batch.valid.shape
        assert batch.ids.shape[0] <= batch_size
        assert batch.ids.shape[1] <= seq_len
        # padding only at the end of a sequence
        assert (np.diff(batch.valid.astype(int), axis=1) <= 0).all()
        assert batch.valid[:, 0].all()


def test_rows_of_a_token_file_are_sequences_of_their_own(model, tmp_path):
    np.save(tmp_path / "t.npy", np.arange(12, dtype=np.uint16).reshape(3, 4))
    found = batches(model, tokens=tmp_path / "t.npy", batch_size=2, seq_len=3)
    assert [batch.ids.tolist() for batch in found] == [
        [[0, 1, 2], [3, 0, 0]], [[4, 5, 6], [7, 0, 0]], [[8, 9, 10], [11, 0, 0]],
    ]  # fmt: skip


@given(st.text(alphabet="ab \n", max_size=400), st.integers(1, 50))
def test_blocks_are_the_text_and_end_at_words(text, size):
    blocks = list(_blocks(io.StringIO(text), "a text", size))
    assert "".join(blocks) == text
    for block, after in pairwise(blocks):
        whole_word = block.endswith("\n") or after[:1] == " "
        assert whole_word or (" " not in block[1:] and "\n" not in block)


def test_standard_input(model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é!".encode())))
    found = batches(model, text="-")
    assert flat(found).tolist() == list("é!".encode())


def test_the_models_own_tokenizer_is_bytes(model, tmp_path):
    text = "Naïve café: 漢字 🙂\n\x00\x7f"
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    found = batches(model, text=str(tmp_path / "t.txt"))
    assert flat(found).tolist() == list(text.encode())


def test_bytes_and_a_named_tokenizer_folder(model, tmp_path):
    (tmp_path / "t.txt").write_text("plain text\n")
    for name in ("bytes", str(CHECKPOINTS / "tiny-mamba2"),
                 str(CHECKPOINTS / "tiny-mamba2" / "tokenizer.json")):  # fmt: skip
        found = batches(model, text=str(tmp_path / "t.txt"), tokenizer=name)
        assert flat(found).tolist() == list(b"plain text\n")


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.ones((2, 2)), MalformedError, "holds float64"),
        (np.zeros((1, 1, 1), int), MalformedError, r"shape \(1, 1, 1\)"),
        (np.zeros(0, int), UsageError, "holds no token"),
        (np.array([3, 256]), UsageError, "token id 256 is outside the model's vocabulary of 256"),
        (np.array([-1, 3]), UsageError, "token id -1"),
    ],
)
def test_token_files_that_do_not_fit(array, error, message, model, tmp_path):
    np.save(tmp_path / "t.npy", array)
    with pytest.raises(error, match=message):
        batches(model, tokens=tmp_path / "t.npy")


def test_a_pickled_token_file_is_refused(model, tmp_path):
    np.save(tmp_path / "t.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(MalformedError, match="not a .npy file of integers"):
        batches(model, tokens=tmp_path / "t.npy")


def npy(header):
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no numpy file",
        b"\x93NUMPY\x01\x00\xff\xff",
        npy(b"{'descr':'<i8\n"),
        npy(b"{'descr':'<i8','fortran_order':False,'shape':(99999999999999999999,)}\n"),
        npy(b"{'descr':'<i8','fortran_order':False,'shape':(-1,)}\n"),
        npy(b"{'descr':'<i8','fortran_order':False,'shape':('a',)}\n"),
        npy(b"{'descr':[('','<i8',9)],'fortran_order':0,'shape':(1,)}\n"),
        npy(b"{'descr':'<q\x00','fortran_order':False,'shape':(1,)}\n"),
        npy(b"(" * 9000),
        npy(b"\xff\xfe\n"),
        b"PK\3\4" + b"x" * 100,
    ],
    ids=range(12),
)
def test_a_token_file_that_is_none(content, model, tmp_path):
    (tmp_path / "t.npy").write_bytes(content)
    with pytest.raises(MalformedError, match="not a .npy file of integers"):
        batches(model, tokens=tmp_path / "t.npy")


def test_files_that_are_not_there(model, tmp_path):
    with pytest.raises(UsageError, match="no token file"):
        batches(model, tokens=tmp_path / "none.npy")
    with pytest.raises(UsageError, match="cannot read the text"):
        batches(model, text=str(tmp_path / "none.txt"))
    with pytest.raises(UsageError, match="cannot read the text"):
        batches(model, text=str(tmp_path))
    with pytest.raises(UsageError, match="there is no tokenizer"):
        batches(model, tokenizer=str(tmp_path / "none.json"))


def test_a_text_that_is_not_utf8(model, tmp_path):
    (tmp_path / "t.txt").write_bytes(b"fine \xff\xfe")
    with pytest.raises(MalformedError, match="not UTF-8"):
        batches(model, text=str(tmp_path / "t.txt"))


def test_an_empty_text(model, tmp_path):
    (tmp_path / "t.txt").write_text("")
    with pytest.raises(UsageError, match="t.txt holds no text"):
        batches(model, text=str(tmp_path / "t.txt"))


def test_a_damaged_tokenizer(model, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MalformedError, match="is not a tokenizer"):
        batches(model, tokenizer=str(tmp_path))


def test_a_model_without_a_tokenizer_says_how_to_name_one(tmp_path, tiny_mamba_folder):
    import shutil

    shutil.copytree(tiny_mamba_folder, tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    with sk.open_checkpoint(str(tmp_path / "m")) as bare:
        with pytest.raises(UsageError, match="comes without a tokenizer.json") as caught:
            batches(bare)
        assert "tokenizer=NAME" in caught.value.hint


def test_options_that_mean_nothing():
    with pytest.raises(UsageError, match="not both"):
        TokenOptions(text="a", tokens="b")
    with pytest.raises(UsageError, match="seq_len must be at least 1"):
        TokenOptions(seq_len=0)


@pytest.mark.parametrize(
    "source",
    [
        {"text": "none.txt"},
        {"text": "latin.txt"},
        {"text": "empty.txt"},
        {"tokens": "none.npy"},
    ],
    ids=str,
)
def test_a_bad_source_is_found_before_a_model_is_loaded(source, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("latin.txt").write_bytes(b"\xff\xfe")
    Path("empty.txt").touch()
    monkeypatch.setattr(type(model), "load", lambda *_: pytest.fail("the model was loaded"))
    options = {name: Path(name_) if name == "tokens" else name_ for name, name_ in source.items()}
    with pytest.raises((UsageError, MalformedError)):
        sk.analyze(model, mode="data", source=TokenOptions(**options))
