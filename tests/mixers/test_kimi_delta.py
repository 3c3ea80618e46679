"""Kimi delta attention: the recurrence against transformers' kernels, the nominal A against its
layers.
"""

from __future__ import annotations

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.architectures.transformers_delta import read_delta_rule
from spectrakit.mixers import KimiDelta
from spectrakit.mixers.layers import unit_length
from tests.mixers.test_gated_delta import first_layer, observed, seen_on
from tests.mixers.test_mamba import assert_within


def arguments(heads, state_size, width, tokens, seed, dtype=torch.float32):
    torch.manual_seed(seed)
    per_head = (2, tokens, heads, state_size)
    return {
        "query": torch.randn(per_head, dtype=dtype),
        "key": torch.randn(per_head, dtype=dtype),
        "value": torch.randn(2, tokens, heads, width, dtype=dtype),
        "g": -torch.rand(per_head, dtype=dtype) * 2,
        "beta": torch.rand(2, tokens, heads, dtype=dtype),
        "initial_state": None,
        "output_final_state": False,
        "use_qk_l2norm_in_kernel": True,
    }


def kimi_delta(heads, state_size, width=1, lower_bound=None):
    return KimiDelta(heads, width, state_size, (heads,), lower_bound)


@given(
    heads=st.integers(1, 3),
    state_size=st.integers(1, 6),
    width=st.integers(1, 5),
    tokens=st.integers(1, 70),
    seed=st.integers(0, 2**16),
)
def test_recurrence_is_the_transformers_kernel(heads, state_size, width, tokens, seed):
    from transformers.models.kimi_linear import modeling_kimi_linear as modelling

    mixer = kimi_delta(heads, state_size, width)
    call = arguments(heads, state_size, width, tokens, seed)
    for kernel in (
        modelling.chunk_kimi_delta_attention,
        modelling.recurrent_kimi_delta_attention,
    ):
        observation = observed(mixer, kernel, call)
        assert_within(observation.output(), observation.outputs, 1e-4)


@given(
    heads=st.integers(1, 3),
    state_size=st.integers(1, 6),
    width=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_recurrence_is_the_equations(heads, state_size, width, seed):
    p = arguments(heads, state_size, width, 6, seed, torch.float64)
    query, key = (unit_length(p[role]) for role in ("query", "key"))
    recurrence = kimi_delta(heads, state_size, width).observed(p["g"], p["beta"], key, query)
    query, key, beta = query.unsqueeze(-1), key.unsqueeze(-1), p["beta"][..., None, None]
    state = torch.zeros(2, heads, state_size, width, dtype=torch.float64)
    expected = []
    for t in range(6):
        erased = torch.eye(state_size) - beta[:, t] * key[:, t] @ key[:, t].mT
        transition = erased @ torch.diag_embed(p["g"][:, t].exp())
        state = transition @ state + beta[:, t] * key[:, t] @ p["value"][:, t].unsqueeze(-2)
        expected.append((state.mT @ query[:, t]).squeeze(-1) / state_size**0.5)
        found = recurrence.at(t)
        assert_within(found.dense(), transition, 1e-12)
        values = found.eigenvalues().values.real.sort(-1).values
        dense = torch.linalg.eigvals(transition)
        assert_within(values, dense.real.sort(-1).values, 1e-9)  # A is not symmetric
        assert float(dense.imag.abs().max()) < 1e-6
    assert_within(recurrence.run(p["value"]), torch.stack(expected, 1), 1e-12)


EXPERTS = {"moe_intermediate_size": 8, "num_local_experts": 2, "num_experts_per_tok": 1}
LATENT = {"kv_lora_rank": 4, "qk_rope_head_dim": 2, "qk_nope_head_dim": 4, "v_head_dim": 4}
KIMI = EXPERTS | LATENT | {"linear_num_heads": 2, "linear_head_dim": 4, "num_key_value_heads": 2}
GLM = KIMI | {
    "q_lora_rank": 4,
    "qk_rope_head_dim": 0,
    "index_head_dim": 8,
    "index_n_heads": 2,
    "layer_types": ["linear_attention", "indexed_attention"],
    "mlp_layer_types": ["dense", "dense"],
}
BAILING = (
    EXPERTS | LATENT | {"head_dim": 4, "num_key_value_heads": 2, "n_group": 1, "topk_group": 1}
)


@pytest.mark.parametrize(
    ("model_type", "sizes", "lower_bound"),
    [
        ("kimi_linear", KIMI, None),
        ("glm5_next_text", GLM | {"linear_lower_bound": -5.0}, -5.0),
        ("glm5_next_text", GLM | {"linear_lower_bound": None}, None),
        ("bailing_hybrid", BAILING | {"kda_lower_bound": -3.0}, -3.0),
        ("bailing_hybrid", BAILING | {"kda_safe_gate": False}, None),
    ],
)
def test_nominal_is_what_a_layer_does_on_zeros(model_type, sizes, lower_bound):
    layer = first_layer(model_type, "self_attn", **sizes)
    rate = layer.forget_gate.A_log
    mixer = KimiDelta(2, 4, 4, tuple(rate.shape), lower_bound)
    seen = seen_on(layer, "chunk_kimi_delta_attention", torch.zeros(1, 3, 16))
    on_zeros = read_delta_rule(mixer, seen).recurrence
    nominal = mixer.from_weights({"A_log": rate, "step_bias": layer.forget_gate.dt_bias})
    assert nominal.mode == "nominal"
    assert_within(nominal.operator.dense().float().expand(1, 2, 4, 4), on_zeros.at(2).dense(), 1e-6)
    assert nominal.eigenvalues().multiplicity == 4  # the columns of a head


@pytest.mark.parametrize("lower_bound", [None, -5.0])
def test_nominal_eigenvalues_are_the_closed_form(lower_bound):
    mixer = kimi_delta(2, 3, lower_bound=lower_bound)
    torch.manual_seed(0)
    p = {"A_log": torch.randn(2), "step_bias": torch.randn(6) * 3 - 3}
    rates = mixer.from_weights(p).eigenvalues().decay_rate
    with mpmath.workdps(40):
        for h in range(2):
            rate = mpmath.exp(float(p["A_log"][h]))
            for n in range(3):
                bias = float(p["step_bias"][3 * h + n])
                if lower_bound is None:
                    exact = rate * mpmath.log1p(mpmath.exp(bias))
                else:
                    exact = -lower_bound / (1 + mpmath.exp(-rate * bias))
                assert float(rates[h, n]) == pytest.approx(float(exact), rel=1e-12)
