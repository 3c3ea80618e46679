"""The header of GGUF: what the package gguf writes is read, everything else is refused."""

from __future__ import annotations

import struct

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.checkpoints.byte_sources import LocalFile, Traffic
from spectrakit.checkpoints.gguf.header import read_header
from spectrakit.checkpoints.gguf.tensor_types import TYPES
from spectrakit.errors import MalformedError, SpectrakitError, UnsupportedError
from tests.support.gguf_files import finish

UINT32, STRING, ARRAY = 4, 8, 9


def text(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str, axes: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<I{len(axes)}Q", len(axes), *axes)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def file_of(keys=(), tensors=(), data=b"\0" * 64, version=3, counts=None) -> bytes:
    n_tensors, n_keys = counts or (len(tensors), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys)
    head += b"".join(keys) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + data


@pytest.fixture
def read(tmp_path):
    def read_bytes(content: bytes):
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        source = LocalFile(path, Traffic())
        try:
            return read_header(source)
        finally:
            source.close()

    return read_bytes


def test_the_types_are_those_of_the_package():
    theirs = {
        kind.value: (kind.name, *sizes)
        for kind, sizes in gguf.GGML_QUANT_SIZES.items()
        if kind.name != "Q1_0"  # nothing writes it yet
    }
    assert {number: tuple(kind[:3]) for number, kind in TYPES.items()} == theirs


def test_what_the_package_writes_is_read(tmp_path, read):
    path = tmp_path / "written.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_block_count(3)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_dt_b_c_rms(True)
    writer.add_array("mamba.attention.head_count_kv", [0, 2, 0])
    writer.add_token_list([f"token {i}" for i in range(40_000)])  # several pieces of the file
    writer.add_token_scores([0.0] * 40_000)
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    writer.add_tensor("blk.0.ssm_a", values)
    packed = gguf.quants.quantize(np.ones((2, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("output.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    finish(writer)
    header = read(path.read_bytes())
    assert header.values["general.architecture"] == "mamba"
    assert header.values["mamba.block_count"] == 3
    assert header.values["mamba.ssm.dt_b_c_rms"] is True
    assert header.values["mamba.attention.head_count_kv"] == (0, 2, 0)
    assert not any(name.startswith("tokenizer.") for name in header.values)
    first, second = header.tensors
    assert (first.name, first.shape, first.type_name) == ("blk.0.ssm_a", (3, 4), "F32")
    assert path.read_bytes()[first.offset : first.offset + first.size] == values.tobytes()
    assert (second.shape, second.type_name, second.size) == ((2, 64), "Q8_0", 2 * 2 * 34)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"GGUX" + file_of()[4:], "does not begin with GGUF"),
        (file_of(counts=(0, 2**60)), "more than its bytes can hold"),
        (file_of(counts=(2**60, 0)), "more than its bytes can hold"),
        (file_of([key("a", 77, b"")]), "of type 77"),
        (file_of([key("a", UINT32, b"\0" * 4)] * 2), "the key 'a' twice"),
        (file_of([key("a", STRING, struct.pack("<Q", 2**62))]), "name or a text of"),
        (file_of([key("a", STRING, text(b"\xff"))]), "not UTF-8"),
        (file_of([key("a", ARRAY, struct.pack("<IQ", ARRAY, 1))]), "of type 9"),
        (file_of([key("a", ARRAY, struct.pack("<IQ", UINT32, 2**61))]), "bytes can hold"),
        (file_of([key("a", ARRAY, struct.pack("<IQQ", STRING, 1, 2**50))]), "within a value"),
        (
            file_of([key("general.alignment", UINT32, struct.pack("<I", 33))]),
            "aligned to 33, which is no power of two",
        ),
        (file_of(tensors=[tensor("w", (4,) * 5)]), "has 5 axes"),
        (file_of(tensors=[tensor("w", (2**62, 2))]), "has the shape"),
        (file_of(tensors=[tensor("w", (17,))]), "ends at byte"),
        (file_of(tensors=[tensor("w", (4,), offset=2**63)]), "ends at byte"),
        (file_of(tensors=[tensor("w", (33,), kind=2)]), "rows of 33 elements, and Q4_0 blocks"),
        (file_of(tensors=[tensor("w", (4,)), tensor("w", (4,), offset=32)]), "a tensor twice"),
        (file_of(tensors=[tensor("v", (4,)), tensor("w", (4,), offset=8)]), "overlaps 'v'"),
    ],
)
def test_what_is_not_sound_is_refused(read, content, says):
    with pytest.raises(MalformedError, match=says):
        read(content)


@pytest.mark.parametrize(("version", "says"), [(1, "version 1"), (3 << 24, "big-endian")])
def test_other_versions_are_named(read, version, says):
    with pytest.raises(UnsupportedError, match=says):
        read(file_of(version=version))


def test_a_type_of_the_future_is_listed(read):
    (found,) = read(file_of(tensors=[tensor("w", (7,), kind=99)])).tensors
    assert (found.shape, found.type, found.type_name) == ((7,), None, "GGML type 99")


_SOUND = file_of(
    [key("general.architecture", STRING, text("mamba")), key("n", UINT32, b"\1\0\0\0")],
    [tensor("w", (4, 2)), tensor("v", (4,), offset=32)],
)


@given(st.integers(0, len(_SOUND) - 1), st.binary(min_size=1, max_size=9))
def test_no_bytes_do_more_than_be_refused(tmp_path_factory, place, noise):
    path = tmp_path_factory.mktemp("noise") / "model.gguf"
    for content in (_SOUND[:place], _SOUND[:place] + noise + _SOUND[place + len(noise) :]):
        path.write_bytes(content)
        source = LocalFile(path, Traffic())
        try:
            read_header(source)
        except SpectrakitError:
            pass
        finally:
            source.close()
