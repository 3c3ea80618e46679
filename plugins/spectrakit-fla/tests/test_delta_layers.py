"""Layers that erase before they write: their options, and what their spectra are made of."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from spectrakit_fla.delta_families import DELTA_FAMILIES
from spectrakit_fla.examples import delta, delta_references

import spectrakit as sk
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.testing import random_parameters

EXAMPLES = {example.name.removesuffix(" layer"): example for example in delta.LAYERS}
MODELS = {example.name: example for example in delta.MODELS}
FAMILIES = {family.model_type: family for family in DELTA_FAMILIES}


def recurrence_of(example):
    return example.mixer.from_input(example.hidden, example.parameters).recurrence


def first_layer(folder, name, **config):
    """The first layer of the example called `name`, with some of its config changed."""
    path = MODELS[name].write(folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    with sk.open_checkpoint(str(folder)) as model:
        return model.layers[0]


@pytest.mark.parametrize("scaling", ["l2", "sum"])
@pytest.mark.parametrize("activation", ["silu", "relu", "elu", "identity"])
def test_every_activation_and_scaling_of_delta_net(activation, scaling):
    example = EXAMPLES["delta net"]
    mixer = replace(example.mixer, activation=activation, scaling=scaling, largest_beta=2.0)
    # Entries of either sign may sum to nothing.
    hidden = example.hidden.abs() if scaling == "sum" else example.hidden
    p = {
        role: value.abs() if scaling == "sum" and role.startswith(("query", "key")) else value
        for role, value in random_parameters(mixer, seed=3).items()
    }
    found = mixer.from_input(hidden, p).output()
    torch.testing.assert_close(found, delta_references.delta_net(mixer, hidden, p))


def test_keys_that_are_scaled_to_a_sum_have_any_length():
    example = EXAMPLES["delta net, scaled to a sum"]
    recurrence = recurrence_of(example)
    key = recurrence.operator.key
    torch.testing.assert_close(key.sum(-1), torch.ones_like(key[..., 0]))
    along = recurrence.operator.eigenvalues().values[..., 1].real
    torch.testing.assert_close(along, 1 - key.square().sum(-1))


def test_deltaproduct_turns_the_state():
    """Eigenvalues of two reflections in different directions are a complex pair."""
    eigenvalues = recurrence_of(EXAMPLES["gated deltaproduct"]).operator.eigenvalues()
    assert eigenvalues.multiplicities == (3, 1, 1)
    imaginary = eigenvalues.values[..., 1:].imag
    assert float(imaginary.abs().max()) > 0.1
    torch.testing.assert_close(imaginary.sum(-1), torch.zeros_like(imaginary[..., 0]))


@pytest.mark.parametrize("name", ["gated deltanet", "gated deltaproduct", "comba"])
def test_the_nominal_eigenvalue_is_the_decay_at_its_bias(name):
    mixer, p = EXAMPLES[name].mixer, EXAMPLES[name].parameters
    found = mixer.from_weights({role: p[role] for role in mixer.weights_roles})
    for head, (a_log, bias) in enumerate(zip(p["A_log"], p["step_bias"], strict=True)):
        decay = math.exp(a_log) * math.log1p(math.exp(bias))
        (rate,) = found.operator.eigenvalues().decay_rate[head]
        assert float(rate) == pytest.approx(decay, rel=1e-14)


@pytest.mark.parametrize("name", ["delta net", "deltaproduct"])
def test_without_a_decay_there_is_nothing_to_say_without_tokens(name):
    with pytest.raises(UnsupportedError, match="without tokens"):
        EXAMPLES[name].mixer.from_weights({})


def test_comba_token_by_token():
    """Its equations as they stand, with keys so short that the epsilon of their length counts."""
    example = EXAMPLES["comba"]
    p = dict(example.parameters) | {"inner_decay": torch.tensor([-3.0, 1.0]).double()}
    p["key_projection"] = p["key_projection"] * 1e-2
    seen = example.mixer.from_input(example.hidden, p)
    key = example.mixer.key(example.hidden, p)
    feedback = key * p["inner_decay"].sigmoid()[:, None]
    key, feedback = (x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt() for x in (key, feedback))
    beta = example.mixer.beta(example.hidden, p).unsqueeze(-1)
    decay = example.mixer.log_decay(example.hidden, p).exp()[..., None, None]
    query = seen.recurrence.output_map.query
    state, outputs = torch.zeros(2, 2, 5, 3, dtype=torch.float64), []
    for t in range(example.hidden.shape[1]):
        found = (state * feedback[:, t].unsqueeze(-1)).sum(-2)
        change = beta[:, t] * (seen.inputs[:, t] - found)
        state = decay[:, t] * state + key[:, t].unsqueeze(-1) * change.unsqueeze(-2)
        outputs.append((state * query[:, t].unsqueeze(-1)).sum(-2))
    torch.testing.assert_close(seen.recurrence.run(seen.inputs), torch.stack(outputs, 1))
    erased = beta.unsqueeze(-1) * key.unsqueeze(-1) * feedback.unsqueeze(-2)
    expected = decay * torch.eye(5, dtype=torch.float64) - erased
    torch.testing.assert_close(seen.recurrence.operator.dense(), expected)
    assert float((key * feedback).sum(-1).min()) < 0.5


def test_deltaproduct_has_a_forget_gate_only_where_its_config_says_so(tmp_path):
    gated = first_layer(tmp_path / "gated", "gated_deltaproduct")
    plain = first_layer(tmp_path / "plain", "gated_deltaproduct", use_forget_gate=None)
    assert (gated.kind, plain.kind) == ("gated_deltaproduct", "deltaproduct")
    assert gated.in_weights
    assert not plain.in_weights


@pytest.mark.parametrize(
    ("name", "config", "error", "says"),
    [
        ("delta_net", {"qk_norm": "rms"}, UnsupportedError, "qk_norm"),
        ("delta_net", {"qk_activation": "gelu"}, UnsupportedError, "qk_activation"),
        ("delta_net", {"hidden_act": "gelu"}, UnsupportedError, "hidden_act"),
        ("delta_net", {"num_heads": 5}, MalformedError, "heads"),
        ("gated_deltanet", {"num_v_heads": 3}, MalformedError, "num_v_heads"),
        ("kda", {"lower_bound": 1.0}, MalformedError, "lower_bound"),
        ("comba", {"num_v_heads": 8}, UnsupportedError, "num_v_heads"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, name, config, error, says):
    with pytest.raises(error, match=says):
        first_layer(tmp_path, name, **config)


@pytest.mark.parametrize(
    ("name", "heads", "state_size", "head_width"),
    [
        ("delta_net", 16, 128, 128),
        ("gated_deltanet", 6, 256, 512),
        ("gated_deltaproduct", 6, 256, 512),
        ("kda", 16, 128, 128),
        ("comba", 6, 256, 512),
    ],
)
def test_sizes_that_a_config_leaves_out_are_flas_own(name, heads, state_size, head_width):
    mixer = FAMILIES[name].mixer(PartConfig("a config", {}), 0)
    assert (mixer.heads, mixer.state_size, mixer.head_width) == (heads, state_size, head_width)
    assert (mixer.model_width, mixer.convolution_width, mixer.largest_beta) == (2048, 4, 1.0)
