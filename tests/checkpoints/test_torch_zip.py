"""torch archives against torch.load: the same tensors, bit for bit, from every layout."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError, UnsupportedError
from tests.checkpoints.archives import old_layout, records, repacked, saved
from tests.checkpoints.test_reading import DTYPES, of_dtype, same_bits


def compare(path, expected):
    """Every tensor of the archive at `path` has the bits, shape and strides of `expected`."""
    with open_checkpoint(str(path)) as checkpoint:
        assert set(checkpoint.tensors) == set(expected)
        read = checkpoint.read(checkpoint.tensors)
    for name, tensor in expected.items():
        assert same_bits(read[name], tensor), name
        assert read[name].shape == tensor.shape, name
        if tensor.numel() > 1:
            assert read[name].stride() == tensor.stride(), name


def state_dict():
    """Contiguous, strided, shared, transposed, expanded and empty tensors of every dtype."""
    base = torch.randn(6, 8)
    tensors = OrderedDict((str(dtype), of_dtype(dtype, 5)) for dtype in DTYPES)
    tensors |= {
        "complex128": torch.randn(3, dtype=torch.complex128),
        "base": base,
        "shared": base,
        "transposed": base.t(),
        "slice": base[1:5:2, ::3],
        "column": base[:, 7],
        "expanded": torch.randn(3, 1).expand(3, 4),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(4)),
        "frozen": torch.nn.Parameter(torch.randn(2).bfloat16(), requires_grad=False),
    }
    return tensors


def loaded(path):
    return torch.load(path, weights_only=True)


def test_new_layout(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(saved(state_dict()))
    assert {".format_version", ".storage_alignment", "byteorder"} < set(records(path.read_bytes()))
    compare(path, loaded(path))


def test_old_layout(tmp_path):
    path = old_layout(state_dict(), tmp_path / "some_name.pt")
    compare(path, loaded(path))


@pytest.mark.parametrize("root", ["archive/", "pytorch_model/", "a name of another length/", ""])
def test_packed_by_another_program(tmp_path, root):
    original = state_dict()
    path = tmp_path / "model.pt"
    path.write_bytes(repacked(records(saved(original)), root))
    compare(path, original)


def test_packed_by_another_program_with_padding_of_its_own(tmp_path):
    """Each record's data begin elsewhere than predicted; what is missing is read after."""
    parts = records(saved(state_dict()))
    parts = {name: parts[name] for name in ("data.pkl", *sorted(set(parts) - {"data.pkl"}))}
    path = tmp_path / "model.pt"
    writer = torch._C.PyTorchFileWriter(str(path), True, 4096)
    for name, content in parts.items():
        if name not in {"version", ".data/serialization_id", ".storage_alignment"}:
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    compare(path, loaded(path))


@pytest.mark.parametrize("alignment", [1, 64, 4096])
def test_storage_alignment(tmp_path, alignment):
    with torch.utils.serialization.config.patch("save.storage_alignment", alignment):
        (tmp_path / "model.pt").write_bytes(saved(state_dict()))
    compare(tmp_path / "model.pt", loaded(tmp_path / "model.pt"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path, protocol):
    original = state_dict()
    (tmp_path / "model.pt").write_bytes(saved(original, pickle_protocol=protocol))
    compare(tmp_path / "model.pt", original)


def test_offsets_are_exact_before_anything_is_read(tmp_path):
    """What indexing predicts for torch's own archives is where the bytes are."""
    tensors = {f"w{i}": torch.full((i,), float(i)) for i in range(1, 60)}
    path = tmp_path / "model.pt"
    path.write_bytes(saved(tensors))
    content = path.read_bytes()
    with open_checkpoint(str(path)) as checkpoint:
        for name, entry in checkpoint.tensors.items():
            raw = content[entry.offset : entry.offset + entry.span]
            assert raw == tensors[name].numpy().tobytes()


MODEL = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "wrapped",
    [
        {"state_dict": MODEL},
        {"model_state_dict": MODEL, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}},
        {"model": MODEL, "epoch": 3, "loss": 1.5, "names": ["a", ("b", None)], "done": True},
        {"model": {"state_dict": MODEL}, "version": "2.1.0"},
        {"layer": {"weight": MODEL["layer.weight"], "bias": MODEL["layer.bias"]}},
        MODEL | {"num_batches": 7, "_extra_state": None},
    ],
    ids=["state_dict", "with optimizer", "with the rest", "twice", "nested", "beside numbers"],
)
def test_wrappers(tmp_path, wrapped):
    (tmp_path / "model.pt").write_bytes(saved(wrapped))
    compare(tmp_path / "model.pt", MODEL)


def test_a_module_s_own_state_dict(tmp_path):
    """An OrderedDict with attributes (`_metadata`)."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    (tmp_path / "model.pt").write_bytes(saved(module.state_dict()))
    compare(tmp_path / "model.pt", module.state_dict())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.zeros(3), "holds one tensor"),
        ({"epoch": 3}, "no state dict of tensors"),
        ([torch.zeros(3)], "no state dict of tensors"),
        (3, "no state dict of tensors"),
    ],
)
def test_no_state_dict(tmp_path, value, said):
    (tmp_path / "model.pt").write_bytes(saved(value))
    with pytest.raises(UnsupportedError, match=said):
        open_checkpoint(str(tmp_path / "model.pt"))


def test_names_that_collide(tmp_path):
    both = {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}
    (tmp_path / "model.pt").write_bytes(saved(both))
    with pytest.raises(MalformedError, match=r"two tensors named 'a\.b'"):
        open_checkpoint(str(tmp_path / "model.pt"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_unsupported(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(UnsupportedError, match="TorchScript"):
        open_checkpoint(str(path))


def test_big_endian_is_unsupported(tmp_path):
    parts = records(saved(MODEL)) | {"byteorder": b"big"}
    (tmp_path / "model.pt").write_bytes(repacked(parts))
    with pytest.raises(UnsupportedError, match="big"):
        open_checkpoint(str(tmp_path / "model.pt"))


@st.composite
def random_state_dict(draw):
    """Tensors of random dtypes, many of them views of each other."""
    tensors = {}
    for i in range(draw(st.integers(1, 6))):
        dtype = draw(st.sampled_from([*DTYPES, torch.complex128]))
        sizes = draw(st.lists(st.integers(0, 5), max_size=4))
        count = max(1, torch.Size(sizes).numel())
        base = of_dtype(dtype, count)[: torch.Size(sizes).numel()].reshape(sizes)
        tensors[f"t{i}"] = base
        if base.dim() and draw(st.booleans()):
            order = draw(st.permutations(range(base.dim())))
            tensors[f"t{i}.permuted"] = base.permute(order)
        if base.dim() and draw(st.booleans()):
            step, start = draw(st.integers(1, 3)), draw(st.integers(0, base.shape[0]))
            tensors[f"t{i}.cut"] = base[start::step]
    return tensors


@given(random_state_dict(), st.booleans(), st.booleans())
def test_random_state_dicts(tmp_path_factory, tensors, wrapped, foreign):
    path = tmp_path_factory.mktemp("random") / "model.pt"
    content = saved({"state_dict": tensors, "step": 3} if wrapped else tensors)
    path.write_bytes(repacked(records(content)) if foreign else content)
    compare(path, tensors)


@pytest.mark.parametrize("length", [100, 8 * 1024 - 30, 8 * 1024, 60_000])
def test_a_comment_behind_the_directory(tmp_path, length):
    """Longer than the first look at the file's end, in some."""
    tensors = {"w": torch.randn(1000)}
    torch.save(tensors, tmp_path / "m.pt")
    data = bytearray((tmp_path / "m.pt").read_bytes())
    data[-2:] = length.to_bytes(2, "little")
    (tmp_path / "m.pt").write_bytes(bytes(data) + b"c" * length)
    with open_checkpoint(str(tmp_path / "m.pt")) as checkpoint:
        assert checkpoint.read(["w"])["w"].equal(tensors["w"])
