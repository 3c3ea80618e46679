"""Tensors inside of what is not loaded: refused by name where they are needed, and only there."""

from __future__ import annotations

import collections
import operator
import pickle

import pytest
import torch

from spectrakit.checkpoints import open_checkpoint
from spectrakit.errors import MalformedError
from tests.checkpoints.archives import saved

WEIGHT, BIAS = torch.arange(6.0).reshape(2, 3), torch.ones(2)
MODEL = {"layer.weight": WEIGHT, "layer.bias": BIAS}


class Scaled(torch.Tensor):
    """A tensor whose values are not those of its storage."""


class Holder:
    def __init__(self, *held):
        self.held = [{"deep": held}]


@pytest.fixture
def opened(tmp_path):
    """A checkpoint of what torch.save writes of a value."""

    def save_and_open(value, **options):
        path = tmp_path / "model.pt"
        path.write_bytes(saved(value, **options))
        return open_checkpoint(str(path))

    return save_and_open


INSIDE = {
    "subclass": (WEIGHT.as_subclass(Scaled), f"{__name__}.Scaled"),
    "sparse": (WEIGHT.to_sparse(), "torch._utils._rebuild_sparse_tensor"),
    "conjugate": (torch.ones(2).to(torch.complex64).conj(), "lazily conjugated or negated tensor"),
    "object": (Holder(WEIGHT), f"{__name__}.Holder"),
    "object of objects": (Holder(Holder(Holder(WEIGHT))), f"{__name__}.Holder"),
    "dict with a class": (collections.defaultdict(list, {1: WEIGHT}), "collections.defaultdict"),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("what", INSIDE)
def test_a_tensor_inside_of_what_is_not_loaded(opened, what, protocol):
    value, type_name = INSIDE[what]
    with opened({"odd": value, "plain": torch.ones(2)}, pickle_protocol=protocol) as checkpoint:
        assert checkpoint.read(["plain"])["plain"].tolist() == [1, 1]
        assert checkpoint.cost(["odd"]) == 0
        with pytest.raises(MalformedError, match="odd is inside a pickled") as caught:
            checkpoint.read(["plain", "odd"])
    assert f"inside a pickled {type_name}, which was not loaded" in caught.value.message
    assert "torch.save(" in caught.value.hint
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "held", [WEIGHT, WEIGHT.t(), WEIGHT[1], [WEIGHT], Holder(WEIGHT), torch.nn.Parameter(WEIGHT)]
)
def test_a_tensor_whose_storage_something_else_holds(opened, held, protocol, tmp_path, monkeypatch):
    value = {"state_dict": MODEL, "trainer": Holder(held)}
    with opened(value, pickle_protocol=protocol) as checkpoint:
        assert torch.equal(checkpoint.read(["layer.bias"])["layer.bias"], BIAS)
        with pytest.raises(MalformedError, match=r"Holder.* holds layer\.weight too") as caught:
            checkpoint.read(["layer.weight"])
    assert caught.value.exit_code == 4
    monkeypatch.chdir(tmp_path)
    exec(caught.value.hint.partition("is trusted: ")[2], {})
    with open_checkpoint("weights.pt") as checkpoint:
        assert torch.equal(checkpoint.read(["layer.weight"])["layer.weight"], WEIGHT)


def test_a_tensor_changed_in_place_by_a_call_is_not_given_out_as_it_was(opened):
    """`torch.load` would give 1; the bytes say 0."""

    class Adds:
        def __reduce__(self):
            return operator.iadd, (kept, 1.0)

    kept = torch.zeros(3)
    assert torch.equal(pickle.loads(pickle.dumps(Adds())), torch.ones(3))  # the change is real
    may_change = pytest.raises(MalformedError, match="holds w too and may change it")
    with opened({"beside": Adds(), "w": kept}) as checkpoint, may_change:
        checkpoint.read(["w"])


def test_items_under_keys_that_are_not_read_hold_their_tensors(opened):
    with opened({"model": MODEL, "moments": {(1, 2): BIAS}}) as checkpoint:
        assert torch.equal(checkpoint.read(["layer.weight"])["layer.weight"], WEIGHT)
        with pytest.raises(MalformedError, match=r"layer\.bias"):
            checkpoint.read(["layer.bias"])


def linear() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2))


WHOLE = {
    "module": (linear(), "Sequential, not"),
    "module in a dict": ({"model": linear(), "epoch": 3}, "['model'] is a pickled"),
    "module deeper": ({"a": {"b": linear()}}, "['a']['b'] is a pickled"),
    "module under its wrapper's name": ({"net": linear()}, "['net'] is a pickled"),
    "defaultdict": (
        collections.defaultdict(int, linear().state_dict()),
        "is a pickled collections.defaultdict",
    ),
    "defaultdict in a dict": (
        {"model": collections.defaultdict(int, linear().state_dict())},
        "['model'] is a pickled collections.defaultdict",
    ),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("what", WHOLE)
def test_a_whole_module_has_a_way_out_that_works_as_printed(
    opened, what, protocol, tmp_path, monkeypatch
):
    value, said = WHOLE[what]
    with pytest.raises(MalformedError) as caught:
        opened(value, pickle_protocol=protocol)
    assert said in caught.value.message
    assert caught.value.exit_code == 4
    monkeypatch.chdir(tmp_path)
    exec(caught.value.hint.partition("is trusted: ")[2], {})
    with open_checkpoint("weights.pt") as checkpoint:
        found = checkpoint.read(checkpoint.tensors)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in linear().state_dict().items()
    }


@pytest.mark.parametrize("key", [None, "model", "anything"])
def test_a_state_dict_of_such_tensors_alone_is_listed(opened, key):
    state = {"layer.weight": WEIGHT.as_subclass(Scaled), "layer.bias": BIAS.as_subclass(Scaled)}
    with opened(state if key is None else {key: state}) as checkpoint:
        for name, entry in checkpoint.tensors.items():
            assert not entry.readable
            with pytest.raises(MalformedError, match="is inside a pickled"):
                checkpoint.read([name])


class Mode(torch.nn.Linear):
    """Holds a method of itself, which is pickled by `getattr`."""

    def __init__(self):
        super().__init__(3, 2)
        self.chosen = self.reset_parameters


@pytest.mark.parametrize("whole", [True, False])
def test_an_object_that_asks_for_getattr_has_one_too(opened, whole, tmp_path, monkeypatch):
    module = Mode()
    value = module if whole else {"state_dict": module.state_dict(), "of": Mode()}
    with pytest.raises(MalformedError, match="getattr") as caught:
        opened(value)
    monkeypatch.chdir(tmp_path)
    line = caught.value.hint.partition("is trusted: ")[2]
    exec(line.removesuffix("; or of the key that holds the state dict"), {})
    with open_checkpoint("weights.pt") as checkpoint:
        assert torch.equal(checkpoint.read(["weight"])["weight"], module.weight)


def test_the_line_for_sparse_tensors_works_as_printed(opened, tmp_path, monkeypatch):
    sparse, refused = INSIDE["sparse"][0], pytest.raises(MalformedError)
    with opened({"model": {"odd": sparse, "plain": BIAS}}) as checkpoint, refused as caught:
        checkpoint.read(["odd"])
    monkeypatch.chdir(tmp_path)
    exec(caught.value.hint.partition("is trusted: ")[2], {})
    with open_checkpoint("weights.pt") as checkpoint:
        assert torch.equal(checkpoint.read(["odd"])["odd"], WEIGHT)
