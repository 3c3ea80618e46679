"""mLSTM written out: its gates and projections around all pairs of tokens; large gates."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers.mlstm_layer import MLSTMLayer
from spectrakit.scans.parallel import parallel_form
from tests.mixers.test_delta_layer import random_parameters
from tests.mixers.test_mamba import assert_within
from tests.mixers.test_mlstm import all_pairs


def layer(heads=2, states=3, cap=15.0):
    return MLSTMLayer(heads, states, 4, cap, model_width=5)


def by_pairs(mixer, hidden, p):
    def heads(role):
        return (hidden @ p[f"{role}_projection"].T).unflatten(-1, (mixer.heads, -1))

    def gate(role, bias):
        raised = hidden @ p[f"{role}_projection"].T + p[bias]
        return mixer.soft_cap * (raised / mixer.soft_cap).tanh()

    y = all_pairs(
        mixer, heads("key"), heads("query"), heads("value"),
        gate("input_gate", "input_gate_bias"), gate("forget_gate", "gate_bias"),
    )  # fmt: skip
    y = y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return (y.flatten(-2) * p["norm"]) @ p["output_projection"].T


@given(heads=st.integers(1, 3), states=st.integers(1, 4), tokens=st.integers(1, 12),
       seed=st.integers(0, 2**16))  # fmt: skip
def test_it_is_all_pairs_of_tokens(heads, states, tokens, seed):
    mixer = layer(heads, states)
    p = random_parameters(mixer, seed)
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, tokens, 5, generator=generator, dtype=torch.float64)
    assert_within(mixer.from_input(hidden, p).output(), by_pairs(mixer, hidden, p), 1e-9)


@pytest.mark.parametrize("bias", [1e3, -1e3])
def test_gates_at_their_cap_are_finite_and_right_in_float32(bias):
    mixer = layer(cap=30.0)
    p = random_parameters(mixer, 0)
    p["input_gate_bias"] = torch.full_like(p["input_gate_bias"], bias)
    hidden = torch.randn(2, 300, 5, generator=torch.Generator().manual_seed(0))
    wanted = by_pairs(mixer, hidden.double(), p)
    single = {role: x.float().requires_grad_() for role, x in p.items()}
    seen = mixer.from_input(hidden, single)
    found = seen.finish(parallel_form(seen.recurrence, seen.inputs))
    assert_within(found.detach().double(), wanted, 1e-4)
    found.square().sum().backward()
    assert all(x.grad.isfinite().all() for x in single.values())
