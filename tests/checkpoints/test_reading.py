"""Reading tensors: bit for bit, in few ranges, and valid after the checkpoint is closed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from spectrakit.checkpoints import byte_sources, open_checkpoint
from spectrakit.checkpoints.byte_sources import COALESCE_GAP, LocalFile, Span, Traffic, coalesce
from spectrakit.errors import MalformedError, UsageError
from tests.support import shapes

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32,
    torch.uint64, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return bytes_of(a) == bytes_of(b)


def bytes_of(tensor: torch.Tensor) -> bytes:
    if tensor.numel() == 0:
        return b""
    packed = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return packed.flatten().view(torch.uint8).numpy().tobytes()


def of_dtype(dtype: torch.dtype, count: int) -> torch.Tensor:
    """`count` elements of every bit pattern that the dtype has (booleans stay booleans)."""
    raw = np.random.default_rng(count).integers(0, 256, count * dtype.itemsize, dtype=np.uint8)
    if dtype is torch.bool:
        raw &= 1
    return torch.from_numpy(raw).view(dtype)


@pytest.fixture
def odd_folder(tmp_path):
    """Every dtype, sorted so that wide ones follow odd numbers of bytes."""
    tensors = {f"{i:02}": of_dtype(dtype, 7) for i, dtype in enumerate(DTYPES)}
    tensors["scalar"] = torch.tensor(2.5)
    tensors["none"] = torch.zeros(0, 4)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    return tmp_path, tensors


def test_every_dtype_is_bit_equal(odd_folder):
    folder, tensors = odd_folder
    with open_checkpoint(str(folder)) as checkpoint:
        read = checkpoint.read(tensors)
    assert list(read) == list(tensors)
    for name, tensor in tensors.items():
        assert same_bits(read[name], tensor), name


def test_a_mapped_batch_is_bit_equal_and_private(odd_folder, monkeypatch):
    """Large batches are mapped copy-on-write: writing to a tensor does not write to the file."""
    folder, tensors = odd_folder
    monkeypatch.setattr(byte_sources, "MAP_FROM_BYTES", 1)
    before = (folder / "model.safetensors").read_bytes()
    with open_checkpoint(str(folder)) as checkpoint:
        read = checkpoint.read(tensors)
    for name, tensor in tensors.items():
        assert same_bits(read[name], tensor), name
    read["scalar"].zero_()
    assert (folder / "model.safetensors").read_bytes() == before


def test_tensors_outlive_the_checkpoint_and_its_files(odd_folder):
    folder, tensors = odd_folder
    checkpoint = open_checkpoint(str(folder))
    read = checkpoint.read(["11"])
    checkpoint.close()
    (folder / "model.safetensors").unlink()
    assert same_bits(read["11"], tensors["11"])


def test_wide_dtypes_are_aligned_wherever_they_lie(odd_folder):
    folder, tensors = odd_folder
    with open_checkpoint(str(folder)) as checkpoint:
        for name, tensor in checkpoint.read(tensors).items():
            assert tensor.data_ptr() % tensor.dtype.itemsize == 0, name


def test_only_what_is_asked_for_is_read(tmp_path):
    tensors = {"a": torch.randn(50_000), "b": torch.randn(50_000), "c": torch.randn(50_000)}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    with open_checkpoint(str(tmp_path)) as checkpoint:
        before = checkpoint.bytes_read
        assert checkpoint.cost(["b"]) == 200_000
        checkpoint.read(["b", "b"])
        assert checkpoint.bytes_read - before == 200_000
        assert checkpoint.cost(["a", "c"]) == 400_000
        assert checkpoint.cost([]) == 0
        assert checkpoint.read([]) == {}


def test_cost_is_what_read_moves(tmp_path):
    shape = shapes.SMALL_MAMBA
    tensors = shapes.mamba(shape, original=True)
    for form in ("safetensors", "bin"):
        config = shapes.mamba_config(shape, original=True)
        if form == "safetensors":
            tensors.pop("lm_head.weight")
        folder = shapes.write(tmp_path / form, config, tensors, form=form)
        with open_checkpoint(str(folder)) as checkpoint:
            names = shapes.step_tensors(checkpoint.tensors)
            assert len(names) == 2 * shape.layers
            before = checkpoint.bytes_read
            cost = checkpoint.cost(names)
            checkpoint.read(names)
            assert checkpoint.bytes_read - before == cost
        tensors = shapes.mamba(shape, original=True)


def test_an_unknown_tensor_is_named(odd_folder):
    with open_checkpoint(str(odd_folder[0])) as checkpoint:
        for method in (checkpoint.read, checkpoint.cost):
            with pytest.raises(UsageError, match="no tensor 'nothing'"):
                method(["scalar", "nothing"])


def test_a_file_that_shrinks_while_open_is_told(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(1000))
    source = LocalFile(path, Traffic())
    path.write_bytes(bytes(10))
    with pytest.raises(MalformedError, match="changed while it was read"):
        source.read(0, 1000)
    source.close()


def test_coalescing_joins_near_spans_only():
    gap = COALESCE_GAP
    spans = [
        Span(0, 10),
        Span(10 + gap - 1, 20 + gap),
        Span(20 + 2 * gap, 30 + 2 * gap),
        Span(5, 5),
    ]
    assert coalesce(spans) == [Span(0, 20 + gap), Span(20 + 2 * gap, 30 + 2 * gap)]


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 500)), max_size=20),
    st.integers(1, 2000),
)
def test_coalesced_spans_cover_and_keep_their_distance(pairs, gap):
    spans = [Span(start, start + length) for start, length in pairs]
    joined = coalesce(spans, gap)
    for span in spans:
        assert span.length == 0 or any(
            j.start <= span.start and span.stop <= j.stop for j in joined
        )
    for before, after in itertools.pairwise(joined):
        assert after.start - before.stop >= gap
    ends = {span.stop for span in spans}
    assert all(j.stop in ends for j in joined)
