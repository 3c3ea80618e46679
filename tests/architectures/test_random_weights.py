"""The random-weight control: which weights are drawn anew, and from what."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import LlamaForCausalLM

from spectrakit import open_checkpoint
from spectrakit.architectures.base import Layer
from spectrakit.architectures.random_weights import randomize
from spectrakit.architectures.written_out import WrittenOutModel
from spectrakit.errors import UnsupportedError, UsageError
from spectrakit.planning import randomized_revision
from tests.families import FAMILIES
from tests.tables.samples import ROOT

FOLDER = ROOT / "catalog" / "checkpoints"


@pytest.fixture
def llama():
    with open_checkpoint(str(FOLDER / "tiny-llama")) as model:
        yield model, model.load()


def changed(model, runnable, what, seed=0):
    """The names of the tensors that are new, and all tensors."""
    before = {name: tensor.clone() for name, tensor in runnable.model.state_dict().items()}
    randomize(runnable, model.layers, what, seed)
    after = runnable.model.state_dict()
    return {name for name in after if not torch.equal(after[name], before[name])}, after


def test_all_is_the_model_that_training_starts_from(llama):
    model, runnable = llama
    new, after = changed(model, runnable, "all", seed=3)
    torch.manual_seed(3)
    expected = LlamaForCausalLM(runnable.model.config).state_dict()
    assert new == set(after)
    for name, tensor in after.items():
        assert torch.equal(tensor, expected[name]), name


def test_mixers_and_mlps_are_parts_of_it(llama):
    model, runnable = llama
    trained = {name: tensor.clone() for name, tensor in runnable.model.state_dict().items()}
    new = {}
    found = {}
    for what in ("all", "mixers", "mlps"):
        runnable.model.load_state_dict(trained)
        new[what], after = changed(model, runnable, what)
        found[what] = {name: tensor.clone() for name, tensor in after.items()}
    assert new["mixers"] == {name for name in trained if ".self_attn." in name}
    assert new["mlps"] == {name for name in trained if ".mlp." in name}
    for what in ("mixers", "mlps"):
        for name in trained:
            source = found["all"] if name in new[what] else trained
            assert torch.equal(found[what][name], source[name]), name


def test_mambas_mixers_have_their_own_scheme():
    with open_checkpoint(str(FOLDER / "tiny-mamba")) as model:
        runnable = model.load()
        new, after = changed(model, runnable, "mixers")
        assert new == {name for name in after if ".mixer." in name}
        expected = torch.arange(1.0, 17).log().expand(192, 16)
        torch.testing.assert_close(after["backbone.layers.1.mixer.A_log"], expected)
        with pytest.raises(UsageError, match="the model has no mlps"):
            randomize(runnable, model.layers, "mlps")


@pytest.mark.parametrize(
    ("model_type", "mixers", "mlps"),
    [
        ("recurrent_gemma", "temporal_block", "mlp_block"),
        ("zamba", "mamba|self_attn", "feed_forward|linear"),
        ("jamba", "mamba|self_attn", "feed_forward"),
    ],
)
def test_hybrids_are_told_apart_by_their_branches(model_type, mixers, mlps, tmp_path):
    (family,) = (family for family in FAMILIES if str(family) == model_type)
    with open_checkpoint(str(family.write(tmp_path))) as model:
        runnable = model.load()
        for what, parts in (("mixers", mixers), ("mlps", mlps)):
            new, after = changed(model, runnable, what)
            inside = {name for name in after if re.search(rf"\d\..*({parts})\.", name)}
            outside = {name for name in after if re.search(rf"\d\..*({mlps})\.", name)}
            expected = inside - outside if what == "mixers" else inside
            assert {name for name in expected if "norm" not in name} <= new <= expected


def test_the_seed_decides_and_torchs_own_state_is_left_alone(llama):
    model, runnable = llama
    torch.manual_seed(5)
    state = torch.get_rng_state()
    seen = []
    for seed in (0, 0, 1):
        randomize(runnable, model.layers, "mixers", seed)
        weights = runnable.model.get_submodule(model.layers[0].path).q_proj.weight
        seen.append(weights.clone())
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_stays_half():
    with open_checkpoint(str(FOLDER / "tiny-llama")) as model:
        runnable = model.load(dtype="bfloat16")
        _, after = changed(model, runnable, "all")
        assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}


class Bare(WrittenOutModel):
    """Of one block, and nothing that could run."""

    vocabulary_size = 4

    def hidden_states(self, tokens, passing):
        raise AssertionError


def test_a_model_of_equations_is_refused_by_name(llama):
    with pytest.raises(UnsupportedError, match="Bare is run by its equations") as info:
        randomize(Bare((), {}), (), "all")
    assert info.value.hint == "leave randomize out"
    model, runnable = llama
    with pytest.raises(UsageError, match="unknown randomize 'norms'"):
        randomize(runnable, model.layers, "norms")


NAMES = (
    "embedding", "norm.weight", "h.0.norm1.weight", "h.0.mixer.A_log", "h.0.mixer.norm.weight",
    "h.0.mlp.up", "h.0.mlp.down", "shared",
)  # fmt: skip
LAYER = Layer(0, "h.0.mixer", "kind", parameters={"bound": "shared"})


def written_out(initial=None):
    weights = {name: torch.full((4, 3), float(index)) for index, name in enumerate(NAMES)}
    weights["h.0.mlp.up"] = weights["h.0.mlp.up"].to(torch.bfloat16)
    return Bare((LAYER,), weights, initial or (lambda _, draw: draw.normal(1)))


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("all", set(NAMES)),
        ("mixers", {"h.0.mixer.A_log", "h.0.mixer.norm.weight", "shared"}),
        ("mlps", {"h.0.mlp.up", "h.0.mlp.down"}),
    ],
)
def test_of_equations_the_parts_are_told_by_names(what, expected):
    model, whole = written_out(), written_out()
    before = dict(model.weights)
    copies = {name: tensor.clone() for name, tensor in before.items()}
    randomize(model, (LAYER,), what, seed=3)
    randomize(whole, (LAYER,), "all", seed=3)
    assert {
        name for name in NAMES if not torch.equal(model.weights[name], before[name])
    } == expected
    for name in NAMES:
        source = whole.weights if name in expected else copies
        assert torch.equal(model.weights[name], source[name])
        assert model.weights[name].dtype == copies[name].dtype
        assert torch.equal(before[name], copies[name])  # files may be behind these tensors


def test_of_equations_the_seed_decides_and_every_weight_has_its_own():
    drawn = []
    for seed in (0, 0, 1):
        model = written_out()
        randomize(model, (LAYER,), "all", seed)
        drawn.append(model.weights)
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in NAMES)
    assert not any(torch.equal(drawn[0][name], drawn[2][name]) for name in NAMES)
    first, *others = (drawn[0][name].float() for name in NAMES)
    assert not any(torch.equal(first, other) for other in others)


def test_what_an_architecture_does_not_know_leaves_the_model_as_it_was():
    def unknown(name, draw):
        if name == "h.0.mlp.down":
            raise UnsupportedError("not known", hint="leave --randomize out")
        return draw.constant(0)

    model = written_out(unknown)
    before = dict(model.weights)
    with pytest.raises(UnsupportedError, match="not known"):
        randomize(model, (LAYER,), "all")
    assert all(model.weights[name] is before[name] for name in NAMES)
    randomize(model, (LAYER,), "mixers")


def test_models_of_another_kind_are_refused_by_name():
    class Strange:
        pass

    with pytest.raises(UnsupportedError, match="Strange does not say"):
        randomize(Strange(), (LAYER,), "all")


def test_its_tables_do_not_pass_for_those_of_the_trained_model():
    assert randomized_revision("local-5c0ffee", "all", 7) == "random-all-7-local-5c0ffee"
