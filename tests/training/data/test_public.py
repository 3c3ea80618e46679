"""Tasks against public data, in a folder that SPECTRAKIT_TEST_DATA names; else left out."""

from __future__ import annotations

import csv
import json
import lzma
import os
from pathlib import Path

import numpy as np
import pytest

from spectrakit.training.data import tasks
from spectrakit.training.data.listops import SYMBOLS
from spectrakit.training.data.mqar import fixed_set
from tests.training.data.test_tasks import solved

PUBLIC = os.environ.get("SPECTRAKIT_TEST_DATA")
pytestmark = pytest.mark.skipif(PUBLIC is None, reason="SPECTRAKIT_TEST_DATA is not set")


def test_fixed_sets_of_mqar_are_the_published_ones_bit_for_bit():
    with np.load(Path(PUBLIC, "mqar", "mqar_fixture.npz")) as stored:
        for number, of in enumerate(json.loads(str(stored["meta"]))):
            options = tasks.task("mqar").options(
                vocabulary=of["vocab_size"], length=of["input_seq_len"], pairs=of["num_kv_pairs"],
                power=of["power_a"], fixed=True,
            )  # fmt: skip
            inputs, targets = fixed_set(options, of["num_examples"], of["seed"])
            assert np.array_equal(inputs, stored[f"inputs{number}"])
            assert np.array_equal(targets, stored[f"labels{number}"])


@pytest.mark.parametrize("name", ["lra_val", "small_val"])
def test_lists_have_the_published_values(name):
    with lzma.open(Path(PUBLIC, "listops", f"{name}.tsv.xz"), "rt", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            symbols = [symbol for symbol in row["Source"].split() if symbol not in "()"]
            assert set(symbols) <= set(SYMBOLS)
            assert solved(symbols) == int(row["Target"])


def test_images_and_reviews_are_read():
    found = tasks.task("pathfinder32")
    for name in ("hard_cl14", "easy_cl6"):
        path = Path(PUBLIC, "pathfinder32", f"pathfinder32_{name}.npz")
        data = found.open(found.options(path=path), 0)
        assert [data.size(s) for s in ("train", "validation", "test")] == [1600, 200, 200]
    found = tasks.task("imdb")
    data = found.open(found.options(path=Path(PUBLIC, "imdb")), 0)
    assert [data.size(s) for s in ("train", "validation", "test")] == [22_497, 2_499, 24_996]
    assert np.bincount(data.batch("test", range(24_996)).targets).tolist() == [12_500, 12_496]
