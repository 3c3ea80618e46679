"""Every task: an example is a function of its number, splits are apart, labels are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from spectrakit.errors import UsageError
from spectrakit.training.data import tasks
from spectrakit.training.data.base import IGNORED
from spectrakit.training.data.listops import SYMBOLS
from spectrakit.training.data.order import examples_of_step, order, spread

#: Small sizes of every task.
SMALL = {
    "digits": {},
    "mqar": {"vocabulary": 64, "length": 32, "pairs": 4, "train": 50},
    "listops": {"max_depth": 5, "max_args": 4, "min_length": 5, "max_length": 40, "train": 50},
    "copying": {"count": 3, "delay": 7, "train": 50},
    "adding": {"length": 12, "train": 50},
    "bytes": {"length": 16},
}


def opened(name, seed=0, **changes):
    found = tasks.task(name)
    return found.open(found.options(**{**SMALL[name], **changes}), seed)


def rows(batch):
    """Each example without its padding."""
    for ids, target, length in zip(batch.inputs, batch.targets, batch.lengths, strict=True):
        yield ids[:length], target[:length] if np.ndim(target) else target


def test_every_task_is_tested():
    of_files = {"imdb", "cifar10", "pathfinder32", "wikitext"}  # in test_files.py
    assert set(SMALL) | of_files == set(tasks.names())


@pytest.mark.parametrize("name", SMALL)
def test_an_example_does_not_depend_on_its_batch(name):
    data = opened(name)
    together = list(rows(data.batch("train", [5, 3, 17, 3])))
    for number, (ids, target) in zip([5, 3, 17, 3], together, strict=True):
        alone, own = next(rows(data.batch("train", [number])))
        assert np.array_equal(ids, alone)
        assert np.array_equal(target, own)


@pytest.mark.parametrize("name", SMALL)
def test_what_a_task_says_of_its_examples_holds(name):
    data = opened(name)
    shape = data.shape
    batch = data.batch("validation", range(min(40, data.size("validation"))))
    assert batch.inputs.min() >= 0
    assert batch.inputs.max() < shape.vocabulary
    assert batch.inputs.shape[1] <= shape.length
    asked = batch.targets[batch.targets != IGNORED]
    assert asked.size
    assert asked.min() >= 0
    assert asked.max() < (shape.classes or shape.vocabulary)
    assert (batch.targets.ndim == 1) == (shape.kind == "classification")
    assert shape.lower_is_better == (shape.metric == "bits_per_token")


@pytest.mark.parametrize("name", ["mqar", "listops", "copying", "adding"])
def test_seeds_and_splits_have_examples_of_their_own(name):
    drawn = [
        opened(name, seed).batch(split, range(8)).inputs.tolist()
        for seed in (0, 1)
        for split in ("train", "validation", "test")
    ]
    assert all(a != b for i, a in enumerate(drawn) for b in drawn[:i])
    assert opened(name, 0).fingerprint != opened(name, 1).fingerprint


def test_digits_are_all_there_once():
    data = opened("digits")
    seen = [row.tobytes() for split in ("train", "validation", "test")
            for row in data.batch(split, range(data.size(split))).inputs]  # fmt: skip
    assert [data.size(s) for s in ("train", "validation", "test")] == [1257, 180, 360]
    assert len(set(seen)) == 1797
    labels = data.batch("test", range(360)).targets
    assert set(labels.tolist()) == set(range(10))


@settings(max_examples=20, deadline=None)
@given(pairs=st.integers(1, 6), extra=st.integers(0, 5), seed=st.integers(0, 5),
       filled=st.booleans())  # fmt: skip
def test_mqar_asks_for_what_it_told(pairs, extra, seed, filled):
    length = 4 * pairs + 2 * extra
    data = opened("mqar", seed, vocabulary=40, length=length, pairs=pairs, random_filler=filled)
    for ids, targets in rows(data.batch("train", range(6))):
        told = dict(zip(ids[0 : 2 * pairs : 2], ids[1 : 2 * pairs : 2], strict=True))
        assert len(told) == pairs
        asked = np.flatnonzero(targets != IGNORED)
        assert len(asked) == pairs
        assert (asked >= 2 * pairs).all()
        assert (asked % 2 == 0).all()
        assert [told[ids[place]] for place in asked] == targets[asked].tolist()
        assert sorted(ids[asked]) == sorted(told)


def test_a_fixed_set_of_mqar_is_the_published_algorithm_step_by_step():
    options = tasks.task("mqar").options(vocabulary=32, length=16, pairs=2, train=5, fixed=True)
    data = tasks.task("mqar").open(options, 7)
    seed = np.random.RandomState(7).randint(0, 1 << 31)
    source = np.random.RandomState(seed)
    keys = [source.choice(np.arange(1, 16), 2, replace=False) for _ in range(5)]
    values = [source.choice(np.arange(16, 32), 2, replace=False) for _ in range(5)]
    space = (16 - 4) // 2
    weights = 0.01 * np.arange(1, space + 1) ** (0.01 - 1)
    weights /= weights.sum()
    gaps = [source.choice(np.arange(space), 2, replace=False, p=weights) for _ in range(5)]
    batch = data.batch("train", range(5))
    for row in range(5):
        sequence, labels = np.zeros(17, int), np.full(17, IGNORED)
        sequence[0:4] = [keys[row][0], values[row][0], keys[row][1], values[row][1]]
        for key, value, gap in zip(keys[row], values[row], gaps[row], strict=True):
            sequence[4 + 2 * gap] = key
            labels[4 + 2 * gap + 1] = value
        assert batch.inputs[row].tolist() == sequence[:-1].tolist()
        assert batch.targets[row].tolist() == labels[1:].tolist()


@pytest.mark.parametrize(
    ("options", "says"),
    [({"length": 31}, "is odd"), ({"pairs": 9}, "take 36 places"), ({"vocabulary": 8}, "must be"),
     ({"fixed": True, "random_filler": True}, "filler is 0"), ({"pears": 3}, "Extra inputs")],
)  # fmt: skip
def test_impossible_sizes_of_mqar(options, says):
    with pytest.raises(ValidationError, match=says):
        tasks.task("mqar").options(**{**SMALL["mqar"], **options})


def solved(symbols):
    """The value of an expression, by a stack: another way than the generator's recursion."""
    stack = []
    for symbol in symbols:
        if symbol != "]":
            stack.append(symbol)
            continue
        values = []
        while isinstance(stack[-1], int) or stack[-1].isdecimal():
            values.append(int(stack.pop()))
        operator = stack.pop()
        ordered = sorted(values)
        middle = len(ordered) // 2
        stack.append({
            "[MIN": ordered[0], "[MAX": ordered[-1], "[SM": sum(values) % 10,
            "[MED": ordered[middle] if len(ordered) % 2
            else (ordered[middle - 1] + ordered[middle]) // 2,
        }[operator])  # fmt: skip
    (value,) = stack
    return int(value)


def test_listops_has_the_value_that_another_evaluator_finds():
    data = opened("listops")
    lengths = []
    for ids, target in rows(data.batch("train", range(50))):
        assert solved([SYMBOLS[number] for number in ids]) == target
        lengths.append(len(ids))
    assert min(lengths) > 5
    assert max(lengths) < 40


def test_listops_of_the_published_sizes():
    found = tasks.task("listops")
    data = found.open(found.options(), 0)
    batch = data.batch("train", range(30))
    assert batch.lengths.min() > 500
    assert batch.lengths.max() < 2000
    for ids, target in rows(batch):
        assert solved([SYMBOLS[number] for number in ids]) == target


def test_copying_repeats_and_adding_adds():
    for ids, targets in rows(opened("copying").batch("train", range(10))):
        assert ids[10] == 1
        assert targets[-3:].tolist() == ids[:3].tolist()
        assert (targets[:-3] == IGNORED).all()
        assert (ids[3:10] == 0).all()
    for ids, target in rows(opened("adding").batch("train", range(10))):
        marked = np.flatnonzero(ids >= 10)
        assert len(marked) == 2
        assert marked[0] < 6 <= marked[1]
        assert (ids[marked] - 10).sum() == target


def test_bytes_are_the_text_and_what_comes_next(tmp_path):
    text = bytes(range(256)) * 4
    (tmp_path / "t.txt").write_bytes(text)
    data = opened("bytes", path=tmp_path / "t.txt")
    whole = np.frombuffer(text, np.uint8)
    batch = data.batch("train", range(data.size("train")))
    assert np.array_equal(batch.inputs.ravel(), whole[: batch.inputs.size])
    assert np.array_equal(batch.targets.ravel(), whole[1 : batch.targets.size + 1])
    parts = {s: data.batch(s, range(data.size(s))) for s in ("train", "validation", "test")}
    used = sum(part.inputs.size for part in parts.values())
    assert used <= len(text)
    assert parts["test"].inputs[0, 0] == whole[int(1024 * 0.95)]
    moved = tmp_path / "moved.txt"
    moved.write_bytes(text)
    assert opened("bytes", path=moved).fingerprint == data.fingerprint


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_a_text_that_is_missing_or_too_short(tmp_path, content):
    path = tmp_path / "t.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        opened("bytes", path=path)
    assert str(path) in error.value.message
    assert error.value.hint


def test_an_unknown_task_has_a_suggestion():
    with pytest.raises(UsageError, match="unknown task 'mqr'") as error:
        tasks.task("mqr")
    assert "mqar" in error.value.hint


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 9))
def test_epochs_follow_each_other_without_a_gap(size, batch, seed):
    steps = -(-3 * size // batch)
    drawn = np.concatenate([examples_of_step(seed, s, batch, size) for s in range(steps)])
    for epoch in range(3):
        own = drawn[epoch * size : (epoch + 1) * size]
        assert sorted(own) == list(range(size))
        assert np.array_equal(own, order(seed, epoch, size))


def test_orders_of_epochs_and_seeds_differ():
    orders = [order(seed, epoch, 50).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(each) for each in orders}) == 4


@given(count=st.integers(1, 40), size=st.integers(1, 40))
def test_some_of_a_split_are_from_all_over_it(count, size):
    chosen = spread(count, size)
    assert len(set(chosen)) == min(count, size)
    gaps = np.diff([*chosen, chosen[0] + size])
    assert gaps.max() - gaps.min() <= 1
