"""Tasks whose data are files: read as documented, and what is wrong with them said."""

from __future__ import annotations

import json
import lzma
import tarfile

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from spectrakit.errors import MalformedError, UsageError
from spectrakit.training.data import tasks


def opened(name, **options):
    found = tasks.task(name)
    return found.open(found.options(**options), 0)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, pixels):
    """Images of two classes, as files that lose nothing."""
    for number, image in enumerate(pixels):
        split = "train" if number < 20 else "test"
        place = tmp_path / "images" / split / ("cat" if number % 2 else "ant")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:04d}.png")
    return tmp_path / "images"


def in_order(pixels, split):
    numbers = range(20) if split == "train" else range(20, 24)
    return [number for parity in (0, 1) for number in numbers if number % 2 == parity]


def test_images_are_read_pixel_by_pixel(folder, pixels):
    data = opened("cifar10", path=folder, colour=True)
    assert [data.size(split) for split in ("train", "validation", "test")] == [18, 2, 4]
    batch = data.batch("test", range(4))
    assert batch.targets.tolist() == [0, 0, 1, 1]
    assert np.array_equal(batch.inputs, pixels[in_order(pixels, "test")].reshape(4, 1024, 3))
    used = {row.tobytes() for split in ("train", "validation")
            for row in data.batch(split, range(data.size(split))).inputs}  # fmt: skip
    assert used == {pixels[i].reshape(1024, 3).astype(np.int64).tobytes() for i in range(20)}


def test_gray_and_small_images_are_averages(folder, pixels):
    gray = np.rint(pixels[in_order(pixels, "test")] @ [0.299, 0.587, 0.114])
    data = opened("cifar10", path=folder)
    assert np.array_equal(data.batch("test", range(4)).inputs, gray.reshape(4, 1024))
    small = opened("cifar10", path=folder, size=16).batch("test", range(4)).inputs
    block = gray[1, 4:6, 8:10].mean()
    assert abs(small[1].reshape(16, 16)[2, 4] - block) <= 0.5
    assert small.shape == (4, 256)


def test_an_archive_and_the_binary_version_are_the_same_images(folder, pixels, tmp_path):
    wanted = opened("cifar10", path=folder, colour=True)
    with tarfile.open(tmp_path / "images.tar.xz", "w:xz") as archive:
        archive.add(folder, "cifar10")
    packed = opened("cifar10", path=tmp_path / "images.tar.xz", colour=True)
    assert packed.fingerprint == wanted.fingerprint
    (tmp_path / "binary").mkdir()
    for name, split in (("data_batch_1.bin", "train"), ("test_batch.bin", "test")):
        rows = [bytes([number % 2]) + pixels[number].transpose(2, 0, 1).tobytes()
                for number in in_order(pixels, split)]  # fmt: skip
        (tmp_path / "binary" / name).write_bytes(b"".join(rows))
    assert (
        opened("cifar10", path=tmp_path / "binary", colour=True).fingerprint == wanted.fingerprint
    )


def test_augmentation_is_a_function_of_step_and_example(folder):
    data = opened("cifar10", path=folder, augment=True)
    plain = data.batch("train", range(18)).inputs
    changed = data.batch("train", range(18), step=3).inputs
    assert not np.array_equal(plain, changed)
    assert np.array_equal(changed[5:7], data.batch("train", [5, 6], step=3).inputs)
    assert not np.array_equal(changed, data.batch("train", range(18), step=4).inputs)
    row = changed[0].reshape(32, 32)
    kept = row[4:-4, 4:-4]
    image = plain[0].reshape(32, 32)
    views = [view[i : i + 24, j : j + 24] for view in (image, image[:, ::-1])
             for i in range(9) for j in range(9)]  # fmt: skip
    assert any(np.array_equal(kept, view) for view in views)


def damage(path, how):
    path.write_bytes(how)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda f: (f / "train/ant/0000.png").write_bytes(b"no image"), MalformedError, "0000.png"),
        (lambda f: Image.new("RGB", (8, 8)).save(f / "train/ant/0000.png"), MalformedError,
         "is 8 x 8, not 32 x 32"),
        (lambda f: (f / "test").rename(f / "val"), UsageError, "has no images in test/CLASS/"),
        (lambda f: (f / "train/ant/0000.png").rename(f / "train/0000.png"), MalformedError,
         "not in a folder of its class"),
        (lambda f: (f / "data_batch_1.bin").write_bytes(b"\0" * 100), MalformedError, "records of"),
    ],
)  # fmt: skip
def test_damaged_images_are_named(folder, change, error, says):
    change(folder)
    with pytest.raises(error, match=says):
        opened("cifar10", path=folder)


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b" + b"x" * 50)
    with pytest.raises(MalformedError, match="no whole tar archive"):
        opened("cifar10", path=tmp_path / "a.tar.gz")


@pytest.mark.parametrize("name", ["imdb", "cifar10", "pathfinder32", "wikitext"])
def test_missing_data_are_answered_with_what_to_get(name):
    with pytest.raises(UsageError, match="not come with spectrakit") as error:
        opened(name)
    assert "task.path=" in error.value.hint
    assert "need" in error.value.hint


def test_pathfinder_is_two_arrays(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 32, 32), dtype=np.uint8), rng.integers(0, 2, 40)
    np.savez(tmp_path / "p.npz", x=x, y=y)
    data = opened("pathfinder32", path=tmp_path / "p.npz")
    assert sum(data.size(split) for split in ("train", "validation", "test")) == 40
    found = {(row.tobytes(), target) for split in ("train", "validation", "test")
             for batch in [data.batch(split, range(data.size(split)))]
             for row, target in zip(batch.inputs, batch.targets, strict=True)}  # fmt: skip
    assert found == {
        (a.reshape(-1).astype(np.int64).tobytes(), b) for a, b in zip(x, y, strict=True)
    }


@pytest.mark.parametrize(
    "arrays",
    [{"x": np.zeros((40, 32, 32))}, {"x": np.zeros((40, 8, 8), np.uint8), "y": np.zeros(40)},
     {"x": np.zeros((40, 32, 32), np.uint8), "y": np.full(40, 3)},
     {"x": np.array([object()] * 40), "y": np.zeros(40)}],
    ids=["no y", "small", "three", "pickled"],
)  # fmt: skip
def test_other_arrays_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "p.npz", **arrays)
    with pytest.raises(MalformedError):
        opened("pathfinder32", path=tmp_path / "p.npz")


def test_reviews_are_bytes_plus_one(tmp_path):
    for split in ("train", "test"):
        for name in ("neg", "pos"):
            place = tmp_path / split / name
            place.mkdir(parents=True)
            for number in range(6):
                (place / f"{number}.txt").write_text(f"{name} {split} {number} é")
    data = opened("imdb", path=tmp_path, length=20)
    batch = data.batch("test", [0, 11])
    review = (batch.inputs[1][: batch.lengths[1]] - 1).astype(np.uint8).tobytes()
    assert review.decode() == "pos test 5 é"
    assert batch.targets.tolist() == [0, 1]
    lines = tmp_path / "lines"
    lines.mkdir()
    for split in ("train", "test"):
        rows = [{"label": label, "text": f"{name} {split} {number} é"}
                for label, name in enumerate(("neg", "pos")) for number in range(6)]  # fmt: skip
        content = "\n".join(map(json.dumps, rows)).encode()
        (lines / f"imdb_{split}.jsonl.xz").write_bytes(lzma.compress(content))
    assert opened("imdb", path=lines, length=20).fingerprint == data.fingerprint
    (lines / "imdb_test.jsonl").write_text('{"label": 3, "text": "x"}')
    with pytest.raises(MalformedError, match="line 1: wanted a label"):
        opened("imdb", path=lines)
    with pytest.raises(UsageError, match="no reviews for train"):
        opened("imdb", path=tmp_path / "train")


def test_wikitext_is_one_stream_of_tokens(tmp_path):
    words = {f"w{number}": number for number in range(10)} | {"?": 10}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ids = np.random.default_rng(0).integers(0, 10, 50)
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(" ".join(f"w{number}" for number in ids))
    given = {"path": tmp_path, "tokenizer": tmp_path / "tokenizer.json"}
    data = opened("wikitext", **given, length=8)
    batch = data.batch("train", range(data.size("train")))
    assert batch.inputs.ravel().tolist() == ids[:48].tolist()
    assert batch.targets.ravel().tolist() == ids[1:49].tolist()
    assert data.shape.vocabulary == 11
    with pytest.raises(UsageError, match="has 50 tokens"):
        opened("wikitext", **given, length=50)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MalformedError, match="is no tokenizer"):
        opened("wikitext", **given)
