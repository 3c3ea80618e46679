"""RWKV-4: the recurrence against the sums written out, and against transformers' own scan."""

from __future__ import annotations

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import RWKV4
from tests.mixers.test_mamba import assert_within


def sums_written_out(key, value, first, decay):
    """y_t = sum_s e^{score_ts} v_s / sum_s e^{score_ts}, through a softmax of the scores.

    score_ts = k_s - (t - 1 - s) e^{time_decay} for s < t, and k_t + time_first for s = t.
    """
    tokens = key.shape[1]
    age = torch.arange(tokens)[:, None] - torch.arange(tokens) - 1  # (t, s)
    score = key[:, None] - age[..., None] * decay.exp()
    score = torch.where((age == -1)[..., None], key[:, None] + first, score)
    score = score.masked_fill((age < -1)[..., None], -torch.inf)
    return (score.softmax(2) * value[:, None]).sum(2), score.logsumexp(2)


@given(
    channels=st.integers(1, 5),
    tokens=st.integers(1, 12),
    spread=st.sampled_from([1.0, 20.0, 100.0]),  # of keys: e^100 is no float32
    slowest=st.sampled_from([-9.0, 0.0, 5.0]),  # e^-e^5 is no float64
    seed=st.integers(0, 2**16),
)
def test_recurrence_is_the_sums_written_out(channels, tokens, spread, slowest, seed):
    torch.manual_seed(seed)
    key = spread * torch.randn(2, tokens, channels, dtype=torch.float64)
    value = torch.randn(2, tokens, channels, dtype=torch.float64)
    first, decay = torch.randn(2, channels, dtype=torch.float64)
    p = {"time_decay": decay + slowest}
    observation = RWKV4(channels).observation(key, value, first, p)
    expected, log_sum = sums_written_out(key, value, first, p["time_decay"])
    assert_within(observation.output(), expected, 1e-10)
    recurrence = observation.recurrence
    # The same normaliser, in a unit of every channel's own.
    unit = (recurrence.log_normaliser - log_sum)[:, :1]
    assert_within(recurrence.log_normaliser - log_sum, unit.expand_as(log_sum), 1e-9)
    other = recurrence.in_gauge("dsf")
    assert_within(observation.finish(other.run(observation.inputs)), expected, 1e-10)


def test_recurrence_is_the_scan_of_transformers():
    from transformers.models.rwkv.modeling_rwkv import rwkv_linear_attention

    torch.manual_seed(0)
    key, value = 30 * torch.randn(2, 20, 6), torch.randn(2, 20, 6)
    first, decay = torch.randn(6), torch.linspace(-6, 6, 6)
    expected, _ = rwkv_linear_attention(decay, first, key, value)
    observation = RWKV4(6).observation(key, value, first, {"time_decay": decay})
    assert_within(observation.output().float(), expected, 1e-6)


def test_eigenvalues_are_the_closed_form():
    torch.manual_seed(0)
    decay = 3 * torch.randn(6) - 2
    recurrence = RWKV4(6).from_weights({"time_decay": decay})
    assert recurrence.mode == "static"
    eigenvalues = recurrence.eigenvalues()
    assert eigenvalues.log_modulus.shape == (6, 1)
    assert eigenvalues.multiplicity == 2  # a numerator and a denominator
    with mpmath.workdps(40):
        for found, raw in zip(eigenvalues.modulus.flatten().tolist(), decay.tolist(), strict=True):
            assert found == pytest.approx(float(mpmath.exp(-mpmath.exp(raw))), rel=1e-13)
