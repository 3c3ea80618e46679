"""Files that are damaged in ways their readers have errors of their own for."""

from __future__ import annotations

import io
import json
import lzma
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.data import listops, tasks, tokenizing

REVIEWS = b"".join(
    json.dumps({"label": i % 2, "text": f"film {i}"}).encode() + b"\n" for i in range(2000)
)


def opened(name, **options):
    found = tasks.task(name)
    return found.open(found.options(**options), 0)


def flipped(content):
    """The content with a byte changed in its middle."""
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 255
    return bytes(changed)


@pytest.mark.parametrize(
    ("ending", "content"),
    [(".xz", b"no xz"), (".xz", flipped(lzma.compress(REVIEWS))),
     (".xz", lzma.compress(REVIEWS)[:-200]), (".gz", b"no gzip"), ("", b"[" * 100_000),
     ("", b'{"label": 0, "text": 12}'), ("", b'{"label": [], "text": "x"}'),
     ("", b'{"label": 0, "text": "\\ud800"}'), ("", b"\xff")],
    ids=["no xz", "flipped", "cut", "no gzip", "nested", "number", "list", "surrogate", "latin"],
)  # fmt: skip
def test_damaged_reviews_are_named(tmp_path, ending, content):
    for split in ("train", "test"):
        (tmp_path / f"imdb_{split}.jsonl{ending}").write_bytes(content)
    with pytest.raises(MalformedError, match="imdb_train"):
        opened("imdb", path=tmp_path)


def images(kinds=2, changed=None):
    """A tar archive of few images, one of them `changed`."""
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode="w:xz") as archive:
        for split in ("train", "test"):
            for kind in range(kinds):
                for number in range(2):
                    content = changed if changed and kind + number == 0 else image(kind)
                    member = tarfile.TarInfo(f"{split}/k{kind:02}/{number}.png")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return stored.getvalue()


def image(seed, told_side=None):
    """A PNG of 32 x 32 pixels; its header tells of `told_side` instead."""
    stored = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stored, "png")
    content = bytearray(stored.getvalue())
    if told_side:
        content[16:24] = told_side.to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [(flipped(images(kinds=10)), "no whole tar archive"),
     (images(changed=image(0, 60_000)), "no image that can be read"),
     (images(kinds=11), "has 11 classes")],
    ids=["flipped", "a bomb", "classes"],
)  # fmt: skip
def test_damaged_archives_of_images_are_refused(tmp_path, content, says):
    (tmp_path / "a.tar.xz").write_bytes(content)
    with pytest.raises(MalformedError, match=says):
        opened("cifar10", path=tmp_path / "a.tar.xz")


def test_one_example_cannot_be_split(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"imdb_{split}.jsonl").write_bytes(REVIEWS.splitlines()[0])
    with pytest.raises(UsageError, match="cannot be split"):
        opened("imdb", path=tmp_path)


def packed(**arrays):
    stored = io.BytesIO()
    np.savez_compressed(stored, **arrays)
    return stored.getvalue()


def told_too_much():
    """An array whose header tells of 100 TB."""
    header, stored = io.BytesIO(), io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**11, 32, 32)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    return stored.getvalue()


def one_array():
    stored = io.BytesIO()
    np.save(stored, np.zeros((40, 32, 32), np.uint8))
    return stored.getvalue()


WHOLE = packed(x=np.random.default_rng(0).integers(0, 256, (40, 32, 32), dtype=np.uint8),
               y=np.arange(40) % 2)  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [b"", b"text", WHOLE[: len(WHOLE) // 2], flipped(WHOLE), one_array(), told_too_much()],
    ids=["empty", "text", "cut", "flipped", "one array", "100 TB"],
)
def test_damaged_arrays_are_named(tmp_path, content):
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(MalformedError, match=r"p\.npz"):
        opened("pathfinder32", path=tmp_path / "p.npz")


@pytest.fixture
def letters(tmp_path):
    """A tokenizer of letters, with the words of a byte-level BPE."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({a: n for n, a in enumerate(alphabet)} | {"Ġa": 256},
                                     [("Ġ", "a")]))  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_a_text_without_tokens_and_a_tokenizer_that_is_missing(tmp_path, letters):
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text("")
    with pytest.raises(UsageError, match="has 0 tokens"):
        opened("wikitext", path=tmp_path, tokenizer=letters)
    with pytest.raises(UsageError, match="there is no file"):
        opened("wikitext", path=tmp_path, tokenizer=tmp_path / "none.json")


@pytest.mark.parametrize("block", [1, 2, 5, 1000])
def test_tokens_do_not_depend_on_the_blocks_that_are_encoded_at_once(
    tmp_path, letters, monkeypatch, block
):
    monkeypatch.setattr(tokenizing, "_BLOCK", block)
    text = "a aa  a \n \n = a = \n a's , a  \n" * 5
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(text)
    data = opened("wikitext", path=tmp_path, tokenizer=letters, length=1)
    found = data.batch("train", range(data.size("train"))).inputs.ravel()
    whole = Tokenizer.from_file(str(letters)).encode(text).ids
    assert 256 in whole
    assert found.tolist() == whole[:-1]


def test_lists_that_cannot_be_as_long_as_wanted_are_refused(monkeypatch):
    with pytest.raises(ValidationError, match="no list of depth 2 with 3 arguments"):
        tasks.task("listops").options(max_depth=2, max_args=3, min_length=5)
    assert tasks.task("listops").options(max_depth=2, max_args=3, min_length=4, max_length=6)
    monkeypatch.setattr(listops, "_MOST_DRAWS", 3)
    data = opened("listops", max_depth=3, max_args=10, min_length=120, max_length=124)
    with pytest.raises(UsageError, match="none of 3 trees"):
        data.batch("train", [0])
