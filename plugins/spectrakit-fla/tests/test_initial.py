"""What fla's models start training from: by the scheme of each, and in models of every family."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest
import torch
from spectrakit_fla.architecture import FAMILIES
from spectrakit_fla.examples import EXAMPLES
from spectrakit_fla.examples.files import tokens

import spectrakit as sk
from spectrakit.architectures.initial_weights import Draw
from spectrakit.architectures.random_weights import randomize
from spectrakit.errors import UnsupportedError
from spectrakit.testing import CheckpointExample

MODELS = [example for example in EXAMPLES if isinstance(example, CheckpointExample)]
ATTENTION = "model.layers.1.attn."


def drawn(model_type, name, *shape, **config):
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_heads": 4, "head_dim": 16}
    source = SimpleNamespace(model_id="m", config=sizes | {"model_type": model_type} | config)
    *_, family = (family for family in FAMILIES if family.model_type == model_type)
    return family.initial(source)(name, Draw.of(name, shape, 0))


def constant(values):
    (value,) = set(values.flatten().tolist())
    return value


@pytest.mark.parametrize("model_type", ["gla", "delta_net", "hgrn", "forgetting_transformer"])
@pytest.mark.parametrize("name", [
    "model.embeddings.weight", ATTENTION + "q_proj.weight", ATTENTION + "o_proj.weight",
    "model.layers.1.mlp.down_proj.weight", ATTENTION + "feature_map_q.layer.weight",
])  # fmt: skip
def test_matrices_are_normal(model_type, name):
    values = drawn(model_type, name, 200, 300)
    assert float(values.std()) == pytest.approx(0.02, rel=0.02)
    assert float(values.abs().max()) > 3.5 * 0.02  # uniform ones end at sqrt(3)
    wide = drawn(model_type, name, 200, 300, initializer_range=0.5)
    torch.testing.assert_close(wide, 25 * values)


@pytest.mark.parametrize(("name", "value"), [
    (ATTENTION + "g_norm_swish_gate.weight", 1), ("model.norm.weight", 1),
    ("model.layers.0.attn_norm.weight", 1), (ATTENTION + "o_norm.weight", 1),
    (ATTENTION + "decay", 1), (ATTENTION + "D", 1), (ATTENTION + "gk_proj.1.bias", 0),
    ("model.lower_bounds", 0), ("model.layers.0.attn_norm.bias", 0),
])  # fmt: skip
def test_the_rest_is_constant(name, value):
    assert constant(drawn("comba", name, 3, 4)) == value


@pytest.mark.parametrize(("model_type", "low", "config"), [
    ("gated_deltanet", 0, {}), ("gated_deltaproduct", 0, {}), ("comba", 0, {}), ("kda", 1, {}),
])  # fmt: skip
def test_decays_are_uniform(model_type, low, config):
    rates = drawn(model_type, ATTENTION + "A_log", 20_000, **config).exp()
    assert (float(rates.min()), float(rates.max())) == pytest.approx((low, 16), abs=0.01)
    assert float(rates.mean()) == pytest.approx((low + 16) / 2, rel=0.02)
    bias = drawn(model_type, ATTENTION + "dt_bias", 20_000).double()
    steps = torch.nn.functional.softplus(bias)
    assert (float(steps.min()), float(steps.max())) == pytest.approx((1e-3, 0.1), rel=0.01)


def test_a_safe_gate_starts_at_a_rate_of_one():
    assert constant(drawn("kda", ATTENTION + "A_log", 5, safe_gate=True, lower_bound=-5.0)) == 0


def test_rwkv6_has_glorots_matrices_in_its_time_mixing():
    for name in ("r_proj.linear.weight", "x_proj.0.linear.weight", "x_proj.2.weight",
                 "o_proj.weight"):  # fmt: skip
        values = drawn("rwkv6", ATTENTION + name, 100, 200)
        bound = 2**-2.5 * math.sqrt(6 / 300)
        assert float(values.abs().max()) == pytest.approx(bound, rel=1e-3)
        assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    low_rank = ATTENTION + "w_proj.linear.lora."
    assert constant(drawn("rwkv6", low_rank + "0.weight", 6, 24)) == 0
    assert constant(drawn("rwkv6", low_rank + "2.bias", 24)) == 0
    singular = torch.linalg.svdvals(drawn("rwkv6", low_rank + "2.weight", 24, 6))
    torch.testing.assert_close(singular, torch.full((6,), 0.1))
    values = drawn("rwkv6", "model.layers.1.ffn.key.linear.weight", 200, 300)
    assert float(values.std()) == pytest.approx(0.02, rel=0.02)


def test_rwkv7_has_the_projects_values():
    norm = drawn("rwkv7", ATTENTION + "g_norm.weight", 64)
    assert constant(norm) == pytest.approx(0.5**0.7)
    assert constant(drawn("rwkv7", ATTENTION + "r_k", 4, 16)) == pytest.approx(-0.04)
    assert constant(drawn("rwkv7", ATTENTION + "o_proj.weight", 64, 64)) == 0
    assert constant(drawn("rwkv7", "model.layers.1.ffn.value.weight", 64, 96)) == 0
    bias = drawn("rwkv7", ATTENTION + "w_lora.lora.2.bias", 64)
    assert bias[[0, 63]].tolist() == pytest.approx([-8, 3])  # -6 + 0.5 - 2.5, 0.5 + 2.5
    embedding = drawn("rwkv7", "model.embeddings.weight", 256, 64)
    assert float(embedding.abs().max()) == pytest.approx(1e-4, rel=1e-3)


def test_what_is_not_known_is_refused():
    with pytest.raises(UnsupportedError, match="first version of RWKV-7"):
        drawn("rwkv7", ATTENTION + "x_x", 6, 64)
    with pytest.raises(UnsupportedError, match="version of transformers"):
        drawn("rwkv6", ATTENTION + "q_proj.weight", 64, 64, attn={"layers": [1], "num_heads": 2})


@pytest.mark.parametrize("example", MODELS, ids=lambda example: example.name)
def test_models_of_every_family_run_on_their_initial_weights(example, tmp_path):
    with sk.open_checkpoint(str(example.write(tmp_path))) as model:
        drawn_of = {}
        for what in ("all", "mixers", "mlps"):
            runnable = model.load()
            before = dict(runnable.weights)
            if any(name.endswith("x_x") for name in before):
                with pytest.raises(UnsupportedError, match="first version"):
                    randomize(runnable, model.layers, "all")
                return
            randomize(runnable, model.layers, what, seed=1)
            after = drawn_of[what] = runnable.weights
            new = {name for name in before if after[name] is not before[name]}
            if what != "all":
                part = r"\.attn\.|lower_bounds" if what == "mixers" else r"\.(mlp|ffn)\."
                assert new == {name for name in before if re.search(part, name)}
                assert all(torch.equal(after[name], drawn_of["all"][name]) for name in new)
        seen = []
        runnable.weights = drawn_of["all"]
        runnable.run(tokens(), on_states=lambda depth, states: seen.append(states))
        assert all(bool(states.isfinite().all()) for states in seen)
