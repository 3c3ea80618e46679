"""mLSTM: the recurrence against all pairs of tokens, and against transformers' own steps."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import MLSTM
from tests.mixers.test_mamba import assert_within

mixers = st.builds(
    MLSTM,
    heads=st.integers(1, 3),
    state_size=st.integers(1, 5),
    head_width=st.integers(1, 4),
    soft_cap=st.just(15.0),
    epsilon=st.sampled_from([0.0, 1e-6, 1e-2]),
)


def activations(mixer, tokens, seed):
    """Key, query, value and the gates, which may be as large as their soft cap."""
    torch.manual_seed(seed)
    dtype = torch.float64
    key, query = torch.randn(2, 2, tokens, mixer.heads, mixer.state_size, dtype=dtype)
    value = torch.randn(2, tokens, mixer.heads, mixer.head_width, dtype=dtype)
    enter, forget = 15 * torch.tanh(torch.randn(2, 2, tokens, mixer.heads, dtype=dtype))
    return key, query, value, enter, forget


def all_pairs(mixer, key, query, value, enter, forget):
    """The parallel form (Beck et al. 2024, equations 71 to 77), stabilised by its largest gate."""
    kept = torch.log(1 / (1 + torch.exp(-forget))).cumsum(1)
    log_gate = kept[:, :, None] - kept[:, None] + enter[:, None]  # (B, t, s, H)
    tokens = key.shape[1]
    later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)[None, :, :, None]
    log_gate = log_gate.masked_fill(later, -math.inf)
    largest = torch.maximum(log_gate.amax(2), kept)  # m starts from zero
    gate = torch.exp(log_gate - largest[:, :, None])
    scores = torch.einsum("bthn,bshn->btsh", query, key) / math.sqrt(mixer.state_size) * gate
    normaliser = torch.maximum(scores.sum(2).abs(), torch.exp(-largest)) + mixer.epsilon
    return torch.einsum("btsh,bshp->bthp", scores, value) / normaliser.unsqueeze(-1)


@given(mixer=mixers, tokens=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_recurrence_is_all_pairs_of_tokens(mixer, tokens, seed):
    tensors = activations(mixer, tokens, seed)
    observation = mixer.observation(*tensors)
    expected = all_pairs(mixer, *tensors)
    assert_within(observation.output(), expected, 1e-10)
    other = observation.recurrence.in_gauge("dsf")
    assert_within(observation.finish(other.run(observation.inputs)), expected, 1e-9)


def test_recurrence_is_the_steps_of_transformers():
    from transformers.models.xlstm.modeling_xlstm import mlstm_recurrent_sequence_native

    mixer = MLSTM(heads=3, state_size=8, head_width=6, soft_cap=15.0)
    tensors = activations(mixer, 40, 0)
    key, query, value, enter, forget = (x.transpose(1, 2) for x in tensors)
    expected = mlstm_recurrent_sequence_native(
        query, key, value, enter, forget, dtype_state=torch.float64
    )
    found = mixer.observation(*tensors).output()
    assert_within(found.transpose(1, 2), expected, 1e-10)


@pytest.mark.parametrize("fused", [False, True])
def test_nominal_eigenvalues_are_the_closed_form(fused):
    mixer = MLSTM(heads=4, state_size=3, head_width=5, soft_cap=15.0, fused=fused)
    (shape,) = mixer.shapes().values()
    bias = torch.linspace(-20, 20, shape[0])
    eigenvalues = mixer.from_weights({"gate_bias": bias}).eigenvalues()
    assert eigenvalues.multiplicity == 3 * (5 + 1)  # the values' columns, and the normaliser's
    with mpmath.workdps(40):
        for found, raw in zip(eigenvalues.decay_rate[:, 0].tolist(), bias[-4:].tolist(),
                              strict=True):  # fmt: skip
            forget = 15 * mpmath.tanh(mpmath.mpf(raw) / 15)
            assert found == pytest.approx(float(mpmath.log1p(mpmath.exp(-forget))), rel=1e-13)
