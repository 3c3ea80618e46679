"""The safetensors header reader: what is sound is read, everything else is a MalformedError."""

from __future__ import annotations

import json
import struct

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.checkpoints import open_checkpoint
from spectrakit.checkpoints.byte_sources import LocalFile, Traffic
from spectrakit.checkpoints.safetensors_header import MAX_HEADER_BYTES, read_header
from spectrakit.errors import MalformedError, SpectrakitError, UnsupportedError

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file_of(header, data: bytes = b"\1" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture
def read(tmp_path):
    def read_bytes(content: bytes):
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        source = LocalFile(path, Traffic())
        try:
            return read_header(source, "model.safetensors")[0]
        finally:
            source.close()

    return read_bytes


def test_a_sound_file_is_read_with_absolute_offsets(read):
    header = {"__metadata__": {"format": "pt"}, "w": F32}
    content = file_of(header)
    entry = read(content)["w"]
    assert (entry.dtype, entry.shape, entry.strides) == ("F32", (2,), (1,))
    assert entry.offset == len(content) - 8
    assert entry.file == "model.safetensors"


def test_the_reference_writer_agrees(read):
    tensors = {
        "matrix": torch.zeros(3, 4),
        "scalar": torch.zeros((), dtype=torch.bfloat16),
        "empty": torch.zeros(0, 5),
        "flags": torch.ones(3, dtype=torch.bool),
    }
    entries = read(safetensors.torch.save(tensors))
    assert {name: entry.shape for name, entry in entries.items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }


def test_a_header_larger_than_the_first_read_is_read_whole(read):
    tensors = {f"layer.{i}.weight": torch.zeros(1) for i in range(2000)}
    assert len(read(safetensors.torch.save(tensors))) == 2000


MALFORMED = {
    "empty": (b"", "is empty"),
    "three bytes": (b"abc", "only 3 bytes"),
    "zero-filled": (bytes(4096), "filled with zeros"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "a header over the cap": (
        struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{" * 64,
        "claims a header of 25,000,001 bytes",
    ),
    "a header over the file": (struct.pack("<Q", 1000) + b"{}", "claims a header of 1,000 bytes"),
    "a header of 2^64 - 1 bytes": (b"\xff" * 64, "claims a header of"),
    "not UTF-8": (file_of(b'{"\xff": 1}'), "not UTF-8"),
    "not JSON": (file_of(b'{"w": '), "not JSON"),
    "a number of 5000 digits": (file_of(b'{"w": ' + b"9" * 5000 + b"}"), "not JSON"),
    "deep JSON": (file_of(b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
    "a list": (file_of(b"[]"), "not a JSON object"),
    "a tensor twice": (
        file_of(
            b'{"w": ' + json.dumps(F32).encode() + b', "w": ' + json.dumps(F32).encode() + b"}"
        ),
        "names 'w' twice",
    ),
    "a key twice within a tensor": (
        file_of(b'{"w": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'),
        "names 'dtype' twice",
    ),
    "a surrogate in a name": (
        file_of(b'{"\\ud800": ' + json.dumps(F32).encode() + b"}"),
        "Unicode",
    ),
    "metadata of numbers": (file_of({"__metadata__": {"a": 1}, "w": F32}), "__metadata__"),
    "metadata that is a list": (file_of({"__metadata__": [], "w": F32}), "__metadata__"),
    "a tensor that is a list": (file_of({"w": [1]}), "needs exactly"),
    "a key too many": (file_of({"w": F32 | {"strides": [1]}}), "needs exactly"),
    "a dtype with a control character": (file_of({"w": F32 | {"dtype": "F\x1b"}}), "dtype 'F"),
    "a dtype in small letters": (file_of({"w": F32 | {"dtype": "f32"}}), "dtype 'f32'"),
    "a dtype of a page": (file_of({"w": F32 | {"dtype": "F" * 4000}}), "dtype 'FFF"),
    "F4 of other bytes": (file_of({"w": F32 | {"dtype": "F4"}}), "F4 [2] needs 1 bytes, has 8"),
    "F6 of other bytes": (
        file_of({"w": {"dtype": "F6_E2M3", "shape": [3], "data_offsets": [0, 3]}}, b"\1" * 3),
        "F6_E2M3 [3] needs 3 bytes, has 3",
    ),
    "an unknown dtype without bytes": (
        file_of({"w": {"dtype": "F31", "shape": [3], "data_offsets": [0, 0]}}, b""),
        "F31 [3] has 0 bytes",
    ),
    "an unknown dtype without elements": (
        file_of({"w": F32 | {"dtype": "F31", "shape": [0]}}),
        "F31 [0] has 8 bytes",
    ),
    "an unknown dtype that overlaps": (
        file_of({"v": F32 | {"dtype": "F31"}, "w": F32 | {"data_offsets": [4, 12]}}, b"\1" * 12),
        "overlaps v",
    ),
    "a dtype that is a number": (file_of({"w": F32 | {"dtype": 32}}), "dtype 32"),
    "a negative size": (file_of({"w": F32 | {"shape": [-2]}}), "has the shape [-2]"),
    "a size that is true": (file_of({"w": F32 | {"shape": [True, 2]}}), "has the shape"),
    "a size that is a float": (file_of({"w": F32 | {"shape": [2.0]}}), "has the shape"),
    "sizes whose product overflows": (file_of({"w": F32 | {"shape": [2**40, 2**40]}}), "shape"),
    "sizes that hide an overflow behind a zero": (
        file_of({"w": {"dtype": "F32", "shape": [0, 2**61, 2**61], "data_offsets": [0, 0]}}, b""),
        "shape",
    ),
    "a thousand dimensions": (file_of({"w": F32 | {"shape": [1] * 1000}}), "shape"),
    "one offset": (file_of({"w": F32 | {"data_offsets": [0]}}), "offsets [0]"),
    "a negative offset": (file_of({"w": F32 | {"data_offsets": [-8, 0]}}), "offsets [-8, 0]"),
    "offsets out of order": (file_of({"w": F32 | {"data_offsets": [8, 0]}}), "lies at bytes 8..0"),
    "offsets past the end": (file_of({"w": F32 | {"data_offsets": [0, 16]}}), "truncated?"),
    "huge offsets": (file_of({"w": F32 | {"data_offsets": [10**300, 10**300 + 8]}}), "lies at"),
    "shape and dtype that need other bytes": (
        file_of({"w": F32 | {"shape": [3]}}),
        "needs 12 bytes",
    ),
    "an overlap": (
        file_of({"v": F32, "w": F32 | {"data_offsets": [4, 12]}}, b"\1" * 12),
        "overlaps v",
    ),
    "the same bytes twice": (file_of({"v": F32, "w": F32}), "overlaps"),
    "a hole": (file_of({"w": F32 | {"data_offsets": [4, 12]}}, b"\1" * 12), "begins 4 bytes after"),
    "bytes after the last tensor": (file_of({"w": F32}, b"\1" * 9), "describes"),
    "data without a tensor": (file_of({}), "describes"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed(read, what):
    content, said = MALFORMED[what]
    with pytest.raises(MalformedError) as caught:
        read(content)
    assert said in caught.value.message
    assert "model.safetensors" in caught.value.message
    assert caught.value.hint


def test_truncation_is_told(read):
    content = safetensors.torch.save({"w": torch.randn(100)})
    with pytest.raises(MalformedError, match="truncated"):
        read(content[:-100])


PACKED = {
    "F4": 16,
    "F6_E2M3": 32,
    "F6_E3M2": 4,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F31_OF_2040": 5,
}


@pytest.mark.parametrize("dtype", PACKED)
def test_a_file_with_a_dtype_that_is_not_read_opens(tmp_path, dtype):
    """The other tensors are read; that one is refused by name."""
    size = 24 if dtype == "F6_E2M3" else 3 if dtype == "F6_E3M2" else 8
    packed = {"dtype": dtype, "shape": [PACKED[dtype]], "data_offsets": [0, size]}
    after = {"dtype": "F32", "shape": [2], "data_offsets": [size, size + 8]}
    values = struct.pack("<2f", 1.5, -2)
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_of({"packed": packed, "w": after}, b"\1" * size + values))
    with open_checkpoint(str(path)) as checkpoint:
        assert checkpoint.tensors["packed"].span == size
        assert checkpoint.read(["w"])["w"].tolist() == [1.5, -2]
        with pytest.raises(UnsupportedError, match=f"packed is stored as {dtype}"):
            checkpoint.read(["w", "packed"])
        assert checkpoint.revision.startswith("local-")


SOUND = safetensors.torch.save({"a": torch.randn(3, 2), "b": torch.arange(5), "c": torch.zeros(0)})


@given(st.data())
def test_any_corruption_is_a_spectrakit_error_or_harmless(tmp_path_factory, data):
    """Whatever bytes change, be it the header, its length or the file's end: never a crash."""
    content = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, min(len(content) - 1, 200)))
        content[position] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) - 40, len(content))) :]
    path = tmp_path_factory.mktemp("corrupt") / "model.safetensors"
    path.write_bytes(content)
    source = LocalFile(path, Traffic())
    try:
        for entry in read_header(source, "x")[0].values():
            assert 8 <= entry.offset <= entry.offset + entry.span <= source.size
    except SpectrakitError:
        pass
    finally:
        source.close()
