"""Gated DeltaNet: the recurrence against transformers' kernels, nominal A against its layers."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.architectures.taps import Call, FunctionSource, Seen
from spectrakit.architectures.transformers_delta import read_delta_rule
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.mixers import GatedDeltaNet
from spectrakit.mixers.layers import unit_length
from tests.mixers.test_mamba import assert_within


@st.composite
def mixers(draw):
    groups = draw(st.integers(1, 2))
    return GatedDeltaNet(
        heads=groups * draw(st.integers(1, 3)),
        head_width=draw(st.integers(1, 5)),
        state_size=draw(st.integers(1, 6)),
        groups=groups,
    )


def delta_rule_arguments(mixer, tokens, largest_beta, seed, dtype=torch.float32):
    """As a layer hands them to its kernel: keys and queries of any length."""
    torch.manual_seed(seed)
    of_groups = (2, tokens, mixer.groups, mixer.state_size)
    return {
        "query": torch.randn(of_groups, dtype=dtype),
        "key": torch.randn(of_groups, dtype=dtype),
        "value": torch.randn(2, tokens, mixer.heads, mixer.head_width, dtype=dtype),
        "g": -torch.rand(2, tokens, mixer.heads, dtype=dtype) * 2,
        "beta": torch.rand(2, tokens, mixer.heads, dtype=dtype) * largest_beta,
        "use_qk_l2norm_in_kernel": True,
    }


def observed(mixer, kernel, arguments):
    return read_delta_rule(mixer, Seen(None, {}, None, [Call(arguments, kernel(**arguments))]))


@given(
    mixer=mixers(),
    tokens=st.integers(1, 70),
    largest_beta=st.sampled_from([1.0, 2.0]),
    normalised=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_recurrence_is_the_transformers_kernel(mixer, tokens, largest_beta, normalised, seed):
    from transformers.models.qwen3_next import modeling_qwen3_next as modelling

    arguments = delta_rule_arguments(mixer, tokens, largest_beta, seed)
    if not normalised:  # the kernel takes keys as they are: longer ones would make A expand
        arguments["use_qk_l2norm_in_kernel"] = False
        arguments["key"] = arguments["key"] / (1 + arguments["key"].norm(dim=-1, keepdim=True))
    for kernel in (
        modelling.torch_chunk_gated_delta_rule,
        modelling.torch_recurrent_gated_delta_rule,
    ):
        observation = observed(mixer, kernel, arguments)
        assert_within(observation.output(), observation.outputs, 1e-4)


@given(mixer=mixers(), largest_beta=st.sampled_from([1.0, 2.0]), seed=st.integers(0, 2**16))
def test_recurrence_is_the_equations(mixer, largest_beta, seed):
    p = delta_rule_arguments(mixer, 6, largest_beta, seed, torch.float64)
    per_head = mixer.heads // mixer.groups
    query, key = (unit_length(p[role]) for role in ("query", "key"))
    recurrence = mixer.observed(p["g"], p["beta"], key, query)
    query, key = (x.repeat_interleave(per_head, 2).unsqueeze(-1) for x in (query, key))
    beta, decay = p["beta"][..., None, None], p["g"].exp()[..., None, None]
    state = torch.zeros(2, mixer.heads, mixer.state_size, mixer.head_width, dtype=torch.float64)
    expected = []
    for t in range(6):
        transition = decay[:, t] * (
            torch.eye(mixer.state_size) - beta[:, t] * key[:, t] @ key[:, t].mT
        )
        state = transition @ state + beta[:, t] * key[:, t] @ p["value"][:, t].unsqueeze(-2)
        expected.append((state.mT @ query[:, t]).squeeze(-1) / mixer.state_size**0.5)
        found = recurrence.at(t)
        assert_within(found.dense(), transition, 1e-12)
        eigenvalues = found.eigenvalues()
        times = torch.tensor(eigenvalues.multiplicities)
        values = eigenvalues.values.real.repeat_interleave(times, -1).sort(-1).values
        assert_within(values, torch.linalg.eigvalsh(transition), 1e-12)
    assert_within(recurrence.run(p["value"]), torch.stack(expected, 1), 1e-12)


SIZES = {
    "vocab_size": 8,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "layer_types": ["linear_attention", "full_attention"],
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
}


def first_layer(model_type, path, **sizes):
    """A layer with random parameters, which is far from initial where it counts."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    with quiet_transformers():
        model = AutoModel.from_config(AutoConfig.for_model(model_type, **SIZES | sizes)).eval()
    layer = model.layers[0].get_submodule(path).requires_grad_(False)
    for name, parameter in layer.named_parameters():
        if name.endswith(("A_log", "dt_bias")):
            parameter.copy_(torch.randn_like(parameter))
    return layer


def seen_on(layer, kernel, hidden):
    """What the layer's kernel sees of `hidden`."""
    calls = []
    with torch.no_grad(), FunctionSource(kernel).watch(layer, [layer], calls.append):
        layer(hidden)
    return Seen(layer, {}, None, calls)


@pytest.mark.parametrize("model_type", ["qwen3_next", "qwen3_5_text", "olmo_hybrid"])
def test_nominal_is_what_a_layer_does_on_zeros(model_type):
    layer = first_layer(
        model_type,
        "linear_attn",
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=4,
        linear_value_head_dim=8,
        **({"num_experts": 2} if model_type == "qwen3_next" else {}),
    )
    mixer = GatedDeltaNet(heads=4, head_width=8, state_size=4, groups=2)
    seen = seen_on(layer, "torch_chunk_gated_delta_rule", torch.zeros(1, 3, 16))
    on_zeros = read_delta_rule(mixer, seen).recurrence
    nominal = mixer.from_weights({"A_log": layer.A_log, "step_bias": layer.dt_bias})
    assert nominal.mode == "nominal"
    assert_within(nominal.operator.dense().float().expand(1, 4, 4, 4), on_zeros.at(2).dense(), 1e-6)
    assert nominal.eigenvalues().multiplicity == 4 * 8  # every state of every column of a head


def test_nominal_eigenvalues_are_the_closed_form():
    mixer = GatedDeltaNet(heads=3, head_width=2, state_size=5, groups=1)
    p = {"A_log": torch.tensor([-3.0, 0.5, 2.0]), "step_bias": torch.tensor([-9.0, -1.0, 0.3])}
    eigenvalues = mixer.from_weights(p).eigenvalues()
    with mpmath.workdps(40):
        for h in range(3):
            step = mpmath.log1p(mpmath.exp(float(p["step_bias"][h])))
            exact = step * mpmath.exp(float(p["A_log"][h]))
            assert float(eigenvalues.decay_rate[h, 0]) == pytest.approx(float(exact), rel=1e-12)


def test_half_precision_parameters_are_widened_before_the_exponential():
    mixer = GatedDeltaNet(heads=1, head_width=1, state_size=1, groups=1)
    p = {"A_log": torch.tensor([12.0]).half(), "step_bias": torch.tensor([-20.0]).half()}
    assert torch.exp(p["A_log"]).isinf()
    rate = mixer.from_weights(p).eigenvalues().decay_rate
    assert float(rate) == pytest.approx(math.exp(12) * math.log1p(math.exp(-20)), rel=1e-12)
