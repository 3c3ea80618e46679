"""Values beside a state dict: not loaded, said, and in nobody's way."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime as dt
import enum
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from spectrakit.checkpoints import open_checkpoint, placeholders
from spectrakit.checkpoints.placeholders import Placeholder
from spectrakit.checkpoints.unpickler import load_state
from spectrakit.errors import MalformedError
from tests.checkpoints.archives import saved, with_pickle

MODEL = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


@dataclasses.dataclass
class Settings:
    """Of a training program, as it pickles them."""

    width: int = 3
    where: Path = Path("runs")


class Kind(enum.IntEnum):
    FIRST = 1


class Mode(enum.Enum):
    TRAIN = "train"


class Config(dict):
    """A dict with a class of its own (OmegaConf, EasyDict, AttrDict)."""


class Slots:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = [1]


class WithArguments(str):
    def __getnewargs_ex__(self):
        return ("x",), {"a": 1}

    def __new__(cls, value, a=0):
        return super().__new__(cls, value)


BESIDE = {
    "Namespace": argparse.Namespace(lr=1e-3, out=Path("runs")),
    "numpy scalar": np.float64(1.5),
    "numpy array": np.arange(4),
    "generator state": np.random.default_rng(0).bit_generator.state,
    "legacy generator": np.random.RandomState(0).get_state(),
    "generator": np.random.default_rng(0),
    "path": Path("a/b"),
    "defaultdict": collections.defaultdict(int, {"a": 1}),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2]),
    "dataclass": Settings(),
    "dict with a class": Config(a=1),
    "slots": Slots(),
    "enum": Kind.FIRST,
    "enum of names": Mode.TRAIN,
    "arguments by name": WithArguments("x"),
    "datetime": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    "timedelta": dt.timedelta(1),
    "device": torch.device("cpu"),
    "dtype": torch.float16,
    "layout": torch.strided,
    "set": {1, "a"},
    "frozenset": frozenset({2}),
    "complex": 1j,
    "bytes": b"\0x",
    "long bytes": b"x" * 300,
    "bytearray": bytearray(b"x"),
    "big": 10**5000,
    "range": range(3),
    "slice": slice(1),
    "type": Settings,
    "function": saved,
    "sparse": torch.eye(3).to_sparse(),
    "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
    "parameter with state": torch.nn.Parameter(torch.ones(1)),
    "module": torch.nn.Linear(2, 2),
    "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0),
    "float8": torch.ones(2).to(torch.float8_e4m3fnuz),
    "itself": None,
}
BESIDE["parameter with state"].decays = False
BESIDE["itself"] = argparse.Namespace()
BESIDE["itself"].me = [BESIDE["itself"]]
KEYS = {
    "tuple": (1, 2),
    "bytes": b"k",
    "device": torch.device("cpu"),
    "path": Path("x"),
    "frozenset": frozenset({1}),
    "numpy integer": np.int64(3),
    "datetime": dt.date(2026, 1, 2),
}


def read(tmp_path, value, **options) -> dict[str, torch.Tensor]:
    path = tmp_path / "model.pt"
    path.write_bytes(saved(value, **options))
    with open_checkpoint(str(path)) as checkpoint:
        return checkpoint.read(MODEL)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("what", BESIDE)
def test_the_state_dict_beside_it_is_read(tmp_path, what, protocol):
    if what == "arguments by name" and protocol < 4:  # which Python then pickles by getattr
        with pytest.raises(MalformedError, match="getattr") as error:
            read(tmp_path, {"x": BESIDE[what], "model": MODEL}, pickle_protocol=protocol)
        assert error.value.exit_code == 4
        return
    found = read(tmp_path, {"x": BESIDE[what], "model": MODEL}, pickle_protocol=protocol)
    assert all(torch.equal(found[name], MODEL[name]) for name in MODEL)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("what", KEYS)
def test_items_under_such_keys_are_left_out(tmp_path, what, protocol):
    value = {"model": MODEL, KEYS[what]: 1, "stats": {KEYS[what]: [1]}}
    found = read(tmp_path, value, pickle_protocol=protocol)
    assert all(torch.equal(found[name], MODEL[name]) for name in MODEL)


def test_what_was_not_loaded_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO, "spectrakit")
    beside = {"args": argparse.Namespace(out=Path("x")), "seen": {1}, "again": {2}, (1, 2): 3}
    read(tmp_path, {"model": MODEL} | beside)
    (line,) = caplog.messages
    names = [*("argparse.Namespace", "pathlib.PosixPath", "__builtin__.set")]
    shown = ", ".join([*names, "items of a dict whose key is a tuple"])
    assert line == f"{tmp_path}/model.pt: not loaded beside the tensors: {shown}"


def test_plain_files_are_read_without_a_word(tmp_path, caplog):
    caplog.set_level(logging.INFO, "spectrakit")
    read(tmp_path, {"model": MODEL, "epoch": 3, "names": ["a", ("b", None)]})
    assert caplog.messages == []


def test_names_are_said_escaped_and_not_by_the_thousand(tmp_path, caplog):
    caplog.set_level(logging.INFO, "spectrakit")
    names = "".join(f"cmod\x1b[31m{i}\u202e\nName\n0" for i in range(1000)).encode()
    tensor = b"}."
    pickled = b"\x80\x02" + names + tensor
    (tmp_path / "model.pt").write_bytes(with_pickle(pickled))
    with pytest.raises(Exception, match="no state dict"):
        open_checkpoint(str(tmp_path / "model.pt"))
    (line,) = caplog.messages
    assert line.isascii()
    assert line.isprintable()
    assert r"'mod\x1b[31m0\u202e.Name'" in line
    assert line.endswith("and 992 more")
    assert len(line) < 600


NAMESPACE = b"\x80\x02cargparse\nNamespace\n)\x81"


def test_a_placeholder_cannot_be_used():
    placeholder = load_state(NAMESPACE + b"}X\x01\x00\x00\x00aK\x01sb.", "x").value
    assert type(placeholder) is Placeholder
    assert repr(placeholder) == "<argparse.Namespace, not loaded>"
    for use in (
        hash,
        bool,
        iter,
        len,
        dict,
        list,
        lambda it: it == placeholder,
        lambda it: it != 1,
        lambda it: it in [1],
        lambda it: it["a"],
        lambda it: it(),
        lambda it: {it: 1},
    ):
        with pytest.raises(TypeError):
            use(placeholder)
    assert not hasattr(placeholder, "a")
    assert not hasattr(placeholder, "__dict__")
    assert not isinstance(placeholder, collections.abc.Mapping)


@pytest.mark.parametrize(
    "opcodes",
    [
        b"}b",  # state
        b"(K\x01K\x02u",  # items of a dict
        b"K\x01K\x02s",
        b"K\x01a",  # of a list
        b"(K\x01K\x02e",
        b"(K\x01\x90",  # of a set
        b")R",  # called
        b")}\x92",  # made into an object
        b"0K\x01",
        b"\x85",
        b"]q\x00h\x00a0h\x00",
    ],
)
def test_whatever_is_put_into_it_stays_out(opcodes):
    read = load_state(NAMESPACE + opcodes + b".", "model.bin")
    assert read.skipped == ("argparse.Namespace",)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (NAMESPACE + b"Q", "not described"),
        (b"\x80\x02(" + NAMESPACE[2:] + b"K\x01K\x02K\x03K\x04tQ", "not described"),
        (b"\x80\x02(X\x07\x00\x00\x00storageK\x01X\x01\x00\x00\x000NK\x01tQ", "not described"),
        (NAMESPACE + NAMESPACE[2:] + b"R", "a call of a Placeholder"),
        (b"\x80\x02K\x01" + NAMESPACE[2:] + b"\x93", "without a name"),
    ],
)
def test_a_placeholder_where_something_else_belongs(described, said):
    with pytest.raises(MalformedError, match=said):
        load_state(described + b".", "model.bin")


def test_things_that_hold_each_other_are_looked_through_once():
    """200 lists, each holding the one before it 200 times, in 200 objects: no product of these."""
    pickled = b"\x80\x02]q\x00"
    for i in range(1, 200):
        items = b"h" + bytes([i - 1])
        pickled += b"]q" + bytes([i]) + b"(" + items * 200 + b"e"
    holders = b"".join(NAMESPACE[2:] + b"h" + bytes([i]) + b"b0" for i in range(200))
    assert load_state(pickled + holders + b"N.", "x").skipped == ("argparse.Namespace",)


def test_too_many_parts_of_objects_are_given_up(monkeypatch):
    monkeypatch.setattr(placeholders, "MAX_ABSORBED", 1000)
    pickled = b"\x80\x02cx\ny\nq\x00" + b"h\x00K\x01\x85R0" * 501
    assert load_state(pickled[: -len(b"R0")] + b".", "x").skipped == ("x.y",)
    with pytest.raises(MalformedError, match="more than 1,000 parts of objects"):
        load_state(pickled + b"N.", "x")


def test_deep_nesting_of_objects_is_harmless():
    pickled = b"\x80\x02N" + b"\x85cx\ny\n0" * 10
    nested = b"cargparse\nNamespace\n(" + b"cargparse\nNamespace\n(" * 20_000 + b"tR" * 20_001
    load_state(pickled + nested + b".", "x")


def test_an_int_of_millions_of_digits_is_no_number():
    digits = b"\x8b" + (1_000_000).to_bytes(4, "little") + b"\x01" * 1_000_000
    assert load_state(b"\x80\x02" + digits + b".", "x").skipped == ("int of many digits",)
    assert load_state(pickle.dumps(10**600, 2), "x").value == 10**600
