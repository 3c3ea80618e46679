"""Softmax attention as a recurrence: its outputs, its decays, and where it starts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.errors import UnsupportedError
from spectrakit.mixers import SoftmaxAttention
from spectrakit.mixers.attention_scores import Scores, ScoresOfWeights
from spectrakit.mixers.log_normaliser import attend
from tests.mixers.test_log_normaliser import Case, all_pairs, cases
from tests.mixers.test_mamba import assert_within

PADDED = Case(2, 1, 2, 9, 4, 3, None, 4, None, False, False, 7)


def observed(case, scores, value):
    """The recurrence, its inputs and the attention's own outputs, (B, T, H, P)."""
    output, *told = attend(scores, value)
    mixer = SoftmaxAttention(case.groups * case.per_group)
    recurrence = mixer.observed(scores, *told, scores.sinks)
    inputs = value.repeat_interleave(case.per_group, 1).transpose(1, 2)
    return recurrence, inputs, output.transpose(1, 2)


@given(case=cases(), gauge=st.sampled_from(["dsf", "unnormalised"]))
def test_recurrence_is_the_attention(case, gauge):
    scores, value = case.scores()
    recurrence, inputs, output = observed(case, scores, value)
    assert recurrence.gauge == "dsf"
    assert_within(recurrence.in_gauge(gauge).run(inputs), output, 1e-4)


@given(case=cases())
def test_in_float64_it_is_the_sum_over_all_pairs(case):
    scores, value = case.scores(torch.float64)
    recurrence, inputs, _ = observed(case, scores, value)
    expected, _ = all_pairs(case, scores, value)
    assert_within(recurrence.run(inputs), expected.transpose(1, 2), 1e-10)


@given(case=cases())
def test_decays_are_ratios_of_normalisers(case):
    scores, value = case.scores(torch.float64)
    recurrence, _, _ = observed(case, scores, value)
    normaliser = all_pairs(case, scores, value)[1].exp().transpose(1, 2)  # (B, T, H)
    before = torch.zeros_like(normaliser[:, :1])
    if case.sinks:
        before = before + scores.sinks.double().exp()
    previous = torch.cat([before, normaliser[:, :-1]], dim=1)
    ratio = torch.where(normaliser > 0, previous / normaliser, 0.0)
    eigenvalues = recurrence.eigenvalues()
    torch.testing.assert_close(eigenvalues.modulus[..., 0], ratio, rtol=1e-6, atol=1e-9)
    assert eigenvalues.multiplicity == 1
    if case.sinks:
        assert recurrence.starts is None
    else:
        assert torch.equal(recurrence.starts, (ratio == 0).all(-1))


def test_every_sequence_starts_at_its_first_token():
    scores, value = PADDED.scores()
    recurrence, _, _ = observed(PADDED, scores, value)
    assert recurrence.starts.tolist() == [[True] * 5 + [False] * 4, [True] + [False] * 8]
    decay = recurrence.eigenvalues().decay_rate
    assert not decay.isnan().any()
    assert decay[~recurrence.starts].isfinite().all()


def test_a_sink_stands_before_the_first_token():
    case = replace(PADDED, padding=0, sinks=True)
    scores, value = case.scores()
    first = observed(case, scores, value)[0].eigenvalues().modulus[:, 0, :, 0]
    own = scores.rows(0, 1)[:, :, 0, 0]  # the first token's score with itself
    expected = scores.sinks.exp() / (scores.sinks.exp() + own.exp())
    torch.testing.assert_close(first.float(), expected)


def test_decays_between_two_tokens_multiply_to_the_ratio_of_their_normalisers():
    case = Case(1, 2, 2, 50, 8, 3, 10, 0, None, True, False, 1)
    recurrence, _, _ = observed(case, *case.scores())
    decay = recurrence.operator.log_decay[:, 8:41].sum(1)
    normaliser = recurrence.log_normaliser
    torch.testing.assert_close(decay, normaliser[:, 7] - normaliser[:, 40])


def test_equal_scores_decay_by_the_share_of_the_past():
    zeros = torch.zeros(1, 1, 40, 2)
    scores = Scores(zeros, zeros, 1.0)
    recurrence = SoftmaxAttention(1).observed(scores, *attend(scores, zeros)[1:])
    found = recurrence.eigenvalues().modulus[0, :, 0, 0]
    t = torch.arange(40)
    torch.testing.assert_close(found, (t / (t + 1)).double(), rtol=1e-6, atol=0)


def test_normalisers_beyond_float32_still_run():
    case = Case(1, 1, 2, 30, 8, 4, None, 0, None, False, False, 5)
    scores, value = case.scores(loudness=100.0)
    recurrence, inputs, output = observed(case, scores, value)
    assert recurrence.log_normaliser.max() > math.log(torch.finfo(torch.float32).max)
    for gauge in ("dsf", "unnormalised"):
        assert_within(recurrence.in_gauge(gauge).run(inputs), output, 1e-3)


@given(case=cases(), t=st.integers(0, 39))
def test_maps_are_their_matrices(case, t):
    t %= case.tokens
    scores, value = case.scores(torch.float64)
    recurrence, inputs, _ = observed(case, scores, value)
    heads = case.groups * case.per_group
    u = inputs[:, t]
    column = recurrence.input_map.matrix(heads)[:, t]  # (B, H, T)
    assert_within(recurrence.input_map.at(t, u), column.unsqueeze(-1) * u.unsqueeze(-2), 1e-12)
    rows = torch.randn(case.batch, 2, heads, case.tokens, dtype=torch.float64)
    reached = torch.einsum("brhn,bhn->brh", rows, column)
    found = recurrence.input_map.reached_by(slice(t, t + 1), rows)
    assert_within(found, reached.unsqueeze(-1), 1e-12)
    state = torch.randn(case.batch, heads, case.tokens, 2, dtype=torch.float64)
    row = recurrence.output_map.matrix(heads)[:, t]
    assert_within(recurrence.output_map.row(t, heads), row, 1e-12)
    read = torch.einsum("bhn,bhnp->bhp", row, state)
    assert_within(recurrence.output_map.at(t, state), read, 1e-12)


@given(case=cases())
def test_scores_of_weights_are_the_scores(case):
    scores, value = case.scores(torch.float64)
    log_normaliser = attend(scores, value).log_normaliser
    exact = scores.rows(0, case.tokens)
    silent = log_normaliser.isneginf()
    weights = (exact - log_normaliser.masked_fill(silent, 0).unsqueeze(-1)).exp()
    found = ScoresOfWeights(weights, log_normaliser).rows(0, case.tokens)
    assert torch.equal(found.isneginf(), exact.isneginf())
    torch.testing.assert_close(found.exp(), exact.exp(), rtol=1e-6, atol=1e-9)


def test_weights_alone_have_no_spectrum():
    with pytest.raises(UnsupportedError, match="no spectrum without tokens") as caught:
        SoftmaxAttention(2).from_weights({})
    assert caught.value.hint == "mode='data'"
