"""The pickle machine: a state dict is built, and nothing else can happen."""

from __future__ import annotations

import pickle
import struct
import types
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.checkpoints import open_checkpoint, pickle_globals, unpickler
from spectrakit.checkpoints.placeholders import Placeholder
from spectrakit.checkpoints.stored_tensors import StoredTensor
from spectrakit.checkpoints.unpickler import load_state
from spectrakit.errors import MalformedError
from tests.checkpoints.archives import records, saved, with_pickle


class Runs:
    """Pickles as a call, as exploits do."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("place", ["value", "key", "after"])
def test_nothing_is_run(tmp_path, protocol, place):
    """A file that would be written when the pickle ran is not there afterwards."""
    canary = tmp_path / "was-run"
    run = Runs(Path.touch, canary)
    value = {
        "value": {"w": torch.zeros(2), "evil": run},
        "key": {"w": torch.zeros(2), run: 1},
        "after": [{"w": torch.zeros(2)}, run],
    }[place]
    path = tmp_path / "model.pt"
    path.write_bytes(saved(value, pickle_protocol=protocol))
    with pytest.raises(MalformedError, match="nothing of it was run") as caught:
        open_checkpoint(str(path))
    asked = {2: "__builtin__.getattr", 4: "pathlib.Path.touch", 5: "pathlib.Path.touch"}
    assert f"'{asked[protocol]}'" in caught.value.message
    assert not canary.exists()
    torch.load(path, weights_only=False)  # the exploit is real
    assert canary.exists()


def touch(path):
    """A function that no list knows."""
    path.touch()


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("place", ["value", "key", "state"])
def test_what_no_list_knows_is_not_run_either(tmp_path, protocol, place):
    """The list of names is an alarm; that nothing runs does not depend on it."""
    canary = tmp_path / "was-run"
    run = Runs(touch, canary)
    value = {
        "value": {"w": torch.zeros(2), "evil": run},
        "key": {"w": torch.zeros(2), run: 1},
        "state": {"w": torch.zeros(2), "beside": types.SimpleNamespace(inner=[run])},
    }[place]
    path = tmp_path / "model.pt"
    path.write_bytes(saved(value, pickle_protocol=protocol))
    with open_checkpoint(str(path)) as checkpoint:
        assert set(checkpoint.tensors) == {"w"}
        assert torch.equal(checkpoint.read(["w"])["w"], torch.zeros(2))
    assert not canary.exists()
    torch.load(path, weights_only=False)  # the exploit is real
    assert canary.exists()


def as_global(module: str, name: str, arguments: bytes = b")") -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("__builtin__", "exec"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch", "storage._load_from_bytes"),
        ("torch.storage", "_load_from_bytes"),
        ("torch.jit", "load"),
        ("torch.serialization", "os.system"),
        ("collections", "OrderedDict.__class__"),
        ("importlib", "import_module"),
        ("importlib.util", "spec_from_file_location"),
        ("operator", "attrgetter"),
        ("_operator", "methodcaller"),
        ("types", "FunctionType"),
        ("pickle", "loads"),
        ("numpy.testing._private.utils", "runstring"),
        ("pathlib", "Path.unlink"),
        ("shutil", "rmtree"),
        ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
    ],
)
def test_names_that_run_code_are_refused(module, name):
    with pytest.raises(MalformedError) as caught:
        load_state(as_global(module, name), "model.bin")
    assert f"{module}.{name}" in caught.value.message
    assert "model.bin" in caught.value.message


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_wrapper_subclass"),
        ("torch", "EvilStorage"),
        ("torch", "QInt8Storage"),
        ("evil.torch", "FloatStorage"),
        ("osmium", "system_of"),
        ("evaluate", "Evaluator"),
        ("collections", "Counter"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("torch.nn.modules.linear", "Linear"),
        ("pathlib", "PosixPath"),
        ("types", "SimpleNamespace"),
        ("argparse", "Namespace"),
    ],
)
def test_any_other_global_is_a_name_and_no_more(module, name):
    read = load_state(as_global(module, name), "model.bin")
    assert type(read.value) is Placeholder
    assert read.value.type_name == f"{module}.{name}"
    assert read.skipped == (f"{module}.{name}",)


def test_a_global_without_a_name_is_one_too():
    assert load_state(as_global("", ""), "model.bin").skipped == ("'.'",)


def test_a_name_cannot_draw_on_the_terminal():
    with pytest.raises(MalformedError) as caught:
        load_state(as_global("os.\x1b[2J", "é"), "model.bin")
    assert "\x1b" not in caught.value.message
    skipped = load_state(as_global("x\x1b[2J", "é" * 300), "model.bin").skipped
    assert skipped[0].isascii()
    assert skipped[0].isprintable()
    assert len(skipped[0]) < 1000


def test_an_allowed_name_is_not_the_real_thing():
    """A bare reference to an allowed global is an inert stand-in, never torch's own function."""
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        pickled = b"\x80\x02ctorch._utils\n" + name.encode() + b"\n."
        assert type(load_state(pickled, "x").value).__module__ == pickle_globals.__name__


@pytest.mark.parametrize(
    ("pickled", "said"),
    [
        (b"", "ends early"),
        (b"\x80\x02", "ends early"),
        (b"\x80\x09N.", "newer than 5"),
        (b".", "pop from empty list"),
        (b"\x80\x02K\x01)R.", "a call of a int"),
        (b"\x80\x02ctorch\nfloat32\n)R.", "a call of a Dtype"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "takes 0 positional"),
        (b"\x80\x02ctorch\nSize\n(X\x01\x00\x00\x00atR.", "layout"),
        (b"\x80\x02ctorch\nSize\n(K\x01tK\x01\x86R.", "takes 1 positional"),
        (b"\x80\x02h\x05.", "memo 5"),
        (b"\x80\x02K\x01}b.", "a int where a dict"),
        (b"\x80\x02]}b.", "a list where a dict"),
        (b"\x80\x02}]K\x01s.", "a key that is a list"),
        (b"\x80\x02}(K\x01u.", "half an item"),
        (b"\x80\x02K\x01a.", "index out of range"),
        (b"\x80\x02u.", "a mark is missing"),
        (b"\x80\x02\x85.", "too few items"),
        (b"\x80\x02(K\x01\x86.", "too few items"),
        (b"\x80\x02X\xff\xff\xff\xffa.", "ends early"),
        (b"\x80\x02\x8d" + b"\xff" * 8 + b"a.", "ends early"),
        (b"\x80\x02X\x01\x00\x00\x00\xff.", "utf-8"),
        (b"\x80\x02K\x01Q.", "not described as torch.save does"),
        (b"\x80\x02(K\x01K\x02K\x03tQ.", "not described as torch.save does"),
        (b"\x80\x02\x82\x01.", "opcode"),  # EXT1, which looks into a registry
        (b"\x80\x02(cos\nsystem\no.", "os.system"),  # OBJ
        (b"\x80\x02(ios\nsystem\n.", "opcode"),  # INST
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "a Builder where a Placeholder"),  # NEWOBJ
        (b"\x80\x02K\x01)\x81.", "a int where a Placeholder"),
        (b"\x80\x04K\x01)}\x92.", "a int where a Placeholder"),  # NEWOBJ_EX
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "ends early"),  # BYTEARRAY8
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".", "ends early"),  # BINBYTES8
        (b"\x80\x02\x8b\xff\xff\xff\xff.", "ends early"),  # LONG4 of -1 bytes
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "ends early"),
        (b"\x80\x04](K\x01\x90.", "no set"),  # ADDITEMS
        (b"\x80\x05\x97.", "opcode"),  # NEXT_BUFFER
        (b"\x80\x02P1\n.", "opcode"),
        (b"\x80\x02c" + b"a" * 5000 + b"\n.", "without an end"),
    ],
)
def test_damaged_pickles(pickled, said):
    with pytest.raises(MalformedError, match=said):
        load_state(pickled, "model.bin")


TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQ"
    b"%b\x89}tR."
)


def tensor(offset=b"K\x00", shape=b"K\x10\x85", strides=b"K\x01\x85") -> bytes:
    named = TENSOR.replace(b"%b", offset + shape + strides)[:-1]
    return b"\x80\x02}X\x01\x00\x00\x00w" + named[2:] + b"s."


def opened(tmp_path, pickled: bytes):
    (tmp_path / "model.bin").write_bytes(with_pickle(pickled))
    with open_checkpoint(str(tmp_path / "model.bin")) as checkpoint:
        return checkpoint.read(checkpoint.tensors)["w"]


def test_the_handmade_tensor_is_sound(tmp_path):
    assert opened(tmp_path, tensor()).shape == (16,)
    assert opened(tmp_path, tensor(b"K\x04", b"K\x02K\x03\x86", b"K\x01K\x05\x86")).shape == (2, 3)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({"shape": b"K\x11\x85"}, "reaches past the end"),
        ({"offset": b"K\x01"}, "reaches past the end"),
        ({"strides": b"K\x02\x85"}, "reaches past the end"),
        ({"offset": b"J\xff\xff\xff\xff"}, "counts"),
        ({"strides": b"J\xff\xff\xff\xff\x85"}, "counts"),
        ({"shape": b"G" + bytes(8) + b"\x85"}, "counts"),
        ({"shape": b"\x88\x85"}, "counts"),
        ({"shape": b"K\x01"}, "no tuple of counts"),
        ({"shape": b"K\x01K\x10\x86"}, "more sizes than strides"),
        ({"shape": b"\x8a\x06" + b"\xff" * 5 + b"\x00\x85"}, "reaches past the end"),
        (
            {"shape": b"\x8a\x06" + b"\xff" * 5 + b"\x00\x85", "strides": b"K\x00\x85"},
            "claims 1,099,511,627,775 elements of 64 bytes",
        ),
        ({"shape": b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85"}, "counts"),
    ],
)
def test_a_view_stays_in_its_storage(tmp_path, layout, said):
    with pytest.raises(MalformedError, match=said):
        opened(tmp_path, tensor(**layout))


def test_deep_nesting_is_harmless():
    """Neither building nor dropping it recurses; as a dict's key it would overflow the stack."""
    deep = b"\x80\x02" + b")" + b"\x85" * 200_000
    load_state(deep + b".", "model.bin")
    assert load_state(b"\x80\x02}" + deep[2:] + b"Ns.", "model.bin").value == {}


def test_dicts_that_hold_each_other_are_not_walked_for_ever(tmp_path):
    pickled = b"\x80\x02}q\x00"
    for i in range(1, 12):  # each dict holds the one before it 20 times
        items = b"".join(b"K" + bytes([n]) + b"h" + bytes([i - 1]) for n in range(20))
        pickled += b"}q" + bytes([i]) + b"(" + items + b"u"
    with pytest.raises(MalformedError, match="hold each other"):
        opened(tmp_path, pickled + b".")


def test_a_dict_that_holds_itself_is_not_walked_for_ever(tmp_path):
    with pytest.raises(MalformedError, match="nested more than"):
        opened(tmp_path, b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.")


def test_too_many_steps_are_given_up(monkeypatch):
    monkeypatch.setattr(unpickler, "MAX_OPCODES", 1000)
    with pytest.raises(MalformedError, match="more than 1,000 steps"):
        load_state(b"\x80\x02" + b"N0" * 1000, "model.bin")


def test_a_pickle_over_the_cap_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrakit.checkpoints.torch_zip.MAX_PICKLE_BYTES", 100)
    with pytest.raises(MalformedError, match="its pickle claims"):
        opened(tmp_path, tensor() + bytes(100))


PICKLE = records(saved({"w": torch.zeros(3), "n": {"m": [1, 2.5, None, True, "é"]}}))["data.pkl"]


def test_plain_values_come_through():
    state = load_state(pickle.dumps({"a": [1, -2, 2**70, 1.5, None, True, "é", b"x", (1,)]}), "x")
    assert state.value == {"a": [1, -2, 2**70, 1.5, None, True, "é", b"x", (1,)]}


@given(st.data())
def test_any_corruption_is_a_spectrakit_error_or_harmless(data):
    pickled = bytearray(PICKLE)
    for _ in range(data.draw(st.integers(1, 6))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedError):
        load_state(bytes(pickled), "model.bin")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_spectrakit_error_or_harmless(pickled):
    with suppress(MalformedError):
        load_state(pickled, "model.bin")


def test_the_machine_has_no_torch():
    """Tensors come out as descriptions."""
    state = load_state(PICKLE, "x")
    assert state.value["w"] == StoredTensor("0", "F32", 3, "F32", 0, (3,), (1,))
    assert not hasattr(unpickler, "pickle")
