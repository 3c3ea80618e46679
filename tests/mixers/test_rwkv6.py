"""RWKV-5 and RWKV-6: the recurrence against the sum over all pairs of tokens."""

from __future__ import annotations

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import RWKV5, RWKV6
from tests.mixers.test_mamba import assert_within


def all_pairs(receptance, key, value, log_decay, bonus):
    """y_t = sum_s (r_t . (d_ts k_s)) v_s, d_ts the decays between s and t, u where s = t.

    log_decay: (B, T, H, N).
    """
    tokens = key.shape[1]
    y = torch.zeros_like(value)
    for t in range(tokens):
        for s in range(t + 1):
            weight = log_decay[:, s + 1 : t].sum(1).exp() if s < t else bonus
            score = (receptance[:, t] * weight * key[:, s]).sum(-1, keepdim=True)
            y[:, t] += score * value[:, s]
    return y


def made(heads, state_size, head_width, tokens):
    """r, k, v and u of a batch of two."""
    receptance, key = torch.randn(2, 2, tokens, heads, state_size, dtype=torch.float64)
    value = torch.randn(2, tokens, heads, head_width, dtype=torch.float64)
    return receptance, key, value, torch.randn(heads, state_size, dtype=torch.float64)


@given(
    heads=st.integers(1, 3),
    state_size=st.integers(1, 4),
    head_width=st.integers(1, 4),
    tokens=st.integers(1, 9),
    slowest=st.sampled_from([-9.0, 0.0, 7.0]),  # e^-e^7 is no float64
    seed=st.integers(0, 2**16),
)
def test_recurrence_of_rwkv6_is_the_sum_over_pairs(
    heads, state_size, head_width, tokens, slowest, seed
):
    torch.manual_seed(seed)
    receptance, key, value, bonus = made(heads, state_size, head_width, tokens)
    log_decay = -(torch.randn_like(key) + slowest).exp()
    mixer = RWKV6(heads, state_size, head_width)
    observation = mixer.observation(receptance, key, value, log_decay, bonus)
    expected = all_pairs(receptance, key, value, log_decay, bonus)
    assert_within(observation.output(), expected, 1e-10)
    assert (
        observation.recurrence.width
        == mixer.from_weights({"time_decay": torch.zeros(1, 1, heads * state_size)}).width
    )


@pytest.mark.parametrize("shared", [False, True])
def test_recurrence_of_rwkv5_is_the_sum_over_pairs(shared):
    torch.manual_seed(0)
    mixer = RWKV5(3, 4, shared=shared)
    receptance, key, value, bonus = made(3, 4, 4, 8)
    bonus = bonus[:, :1] if shared else bonus
    (shape,) = mixer.shapes().values()
    p = {"time_decay": torch.randn(shape, dtype=torch.float64)}
    observation = mixer.observation(
        receptance, key, value, bonus, p, after=lambda y: y.flatten(-2).tanh()
    )
    log_decay = -p["time_decay"].exp().view(3, -1).expand_as(key)
    expected = all_pairs(receptance, key, value, log_decay, bonus)
    assert_within(observation.output(), expected.flatten(-2).tanh(), 1e-10)
    # What tokens show of A is what the weights say of it, digit by digit.
    found = observation.recurrence.eigenvalues().log_modulus
    assert torch.equal(found, mixer.from_weights(p).eigenvalues().log_modulus)
    assert observation.recurrence.mode == "static"


def test_a_decay_counts_where_it_acts_on_something():
    torch.manual_seed(0)
    receptance, key, value, bonus = made(1, 2, 2, 5)
    log_decay = -torch.rand_like(key)
    recurrence = RWKV6(1, 2).observation(receptance, key, value, log_decay, bonus).recurrence
    assert recurrence.starts.tolist() == [[True, True, False, False, False]] * 2
    # A_t is the decay of the token before.
    assert torch.equal(recurrence.operator.log_decay[:, 2:], log_decay[:, 1:-1])


@pytest.mark.parametrize(
    ("mixer", "copies"),
    [
        (RWKV5(3, 2), 2),
        (RWKV5(6, 4, shared=True), 4),
        (RWKV6(2, 3), 3),
        (RWKV6(2, 3, head_width=5), 5),
    ],
    ids=["rwkv5", "rwkv5-shared", "rwkv6", "rwkv6-wide"],
)
def test_eigenvalues_are_the_closed_form(mixer, copies):
    torch.manual_seed(0)
    (shape,) = mixer.shapes().values()
    decay = 3 * torch.randn(shape) - 2
    recurrence = mixer.from_weights({"time_decay": decay})
    assert recurrence.mode == mixer.weights_mode
    eigenvalues = recurrence.eigenvalues()
    assert eigenvalues.log_modulus.shape == (mixer.heads, mixer.state_size)
    assert eigenvalues.multiplicity == copies
    values = eigenvalues.modulus.flatten()
    repeated = decay.flatten().repeat_interleave(len(values) // decay.numel())
    with mpmath.workdps(40):
        for found, raw in zip(values.tolist(), repeated.tolist(), strict=True):
            exact = mpmath.exp(-mpmath.exp(raw))
            assert found == pytest.approx(float(exact), rel=1e-13)
