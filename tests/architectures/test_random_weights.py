"""The random-weight control: which weights are drawn anew, and from what."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import LlamaForCausalLM

from spectrakit import open_checkpoint
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
    vocabulary_size = 4

    def hidden_states(self, tokens, passing):
        raise AssertionError


def test_a_model_of_equations_is_refused_by_name(llama):
    with pytest.raises(UnsupportedError, match="Bare is run by its equations") as info:
        randomize(Bare((), {}), (), "all")
    assert info.value.hint == "leave --randomize out"
    model, runnable = llama
    with pytest.raises(UsageError, match="'norms' is no set of weights"):
        randomize(runnable, model.layers, "norms")


def test_its_tables_do_not_pass_for_those_of_the_trained_model():
    assert randomized_revision("local-5c0ffee", "all", 7) == "random-all-7-local-5c0ffee"
