"""Tensors in memory as a source: listed, read and hashed where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrakit.checkpoints.in_memory import HeldTensor, TensorsInMemory
from spectrakit.errors import UnsupportedError, UsageError

TENSORS = {
    "half": torch.arange(6, dtype=torch.bfloat16).view(2, 3),
    "turned": torch.arange(6.0).view(2, 3).T,
    "complex": torch.tensor([1 + 2j]).conj(),
    "one": torch.tensor(3),
    "none": torch.empty(0, 4),
}


def held(tensors, **kwargs):
    entries = {name: HeldTensor.of(name, own, lambda own=own: own) for name, own in tensors.items()}
    return TensorsInMemory(model_id="mine", config={"a": 1}, held=entries, **kwargs)


def test_lists_what_is_there():
    entries = held(TENSORS).tensors
    assert {name: entry.dtype for name, entry in entries.items()} == {
        "half": "BF16", "turned": "F32", "complex": "C64", "one": "I64", "none": "F32",
    }  # fmt: skip
    assert entries["turned"].shape == (3, 2)
    assert entries["turned"].strides == (1, 3)
    assert {entry.file for entry in entries.values()} == {"memory"}


def test_reads_the_same_memory_and_copies_when_it_is_not_borrowed():
    source = held(TENSORS)
    for name, tensor in source.read(TENSORS).items():
        assert tensor.data_ptr() == TENSORS[name].data_ptr()
        assert torch.equal(tensor, TENSORS[name])
    copies = held(TENSORS, borrowed=False).read(["half"])
    assert copies["half"].data_ptr() != TENSORS["half"].data_ptr()
    assert source.cost(["half", "half", "one"]) == 12 + 8
    with pytest.raises(UsageError, match="mine has no tensor 'other'"):
        source.read(["other"])


@pytest.mark.parametrize("name", ["half", "turned", "complex", "one"])
def test_the_revision_is_of_content_names_shapes_and_config(name):
    before = held(TENSORS).revision
    assert held(dict(reversed(TENSORS.items()))).revision == before
    changed = {key: tensor.clone() for key, tensor in TENSORS.items()}
    assert held(changed).revision == before
    changed[name] += 1
    assert held(changed).revision != before
    assert (
        held({"other" if key == name else key: own for key, own in TENSORS.items()}).revision
        != before
    )
    source = held(TENSORS)
    source.configure({"a": 2})
    assert source.overridden == {"a": 2}
    assert source.revision != before


def test_a_tensor_that_wraps_others_is_not_read():
    from torch.testing._internal.two_tensor import TwoTensor

    packed = TwoTensor(torch.ones(2), torch.ones(2))
    with pytest.raises(UnsupportedError, match="x is a TwoTensor, whose values are packed"):
        held({"x": packed}).read(["x"])


def test_files_of_a_tokenizer_are_gone_when_it_is_closed():
    from tokenizers import Tokenizer, models

    source = held(TENSORS, tokenizer=Tokenizer(models.BPE()))
    path = source.file_path("tokenizer.json")
    assert path.is_file()
    assert source.file_path("other.json") is None
    source.close()
    assert not path.exists()
    assert held(TENSORS).file_path("tokenizer.json") is None
    with pytest.raises(UsageError, match="is not a plain file name"):
        source.file_path("../tokenizer.json")
    source.close()


def test_arrays_of_numpy_are_listed_too():
    array = np.arange(3, dtype=np.float16)
    entry = HeldTensor.of("x", torch.from_numpy(array), lambda: torch.from_numpy(array)).entry
    assert (entry.dtype, entry.span) == ("F16", 6)
