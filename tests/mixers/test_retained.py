"""Gauge retained, 1 - p_tt, of every mixer that has it: against the matrix of weights."""

from __future__ import annotations

import math
from dataclasses import replace

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.architectures.attention_modes import log_odds
from spectrakit.mixers import MLSTM, RWKV4, LinearAttention, NormAttention, SoftmaxAttention
from spectrakit.mixers.attention_scores import GivenMask, Scores
from spectrakit.mixers.log_normaliser import attend
from tests.mixers.test_linear_attention import (
    all_pairs as linear_output,
)
from tests.mixers.test_linear_attention import (
    norm,
    random_layer,
    scores,
    sizes,
)
from tests.mixers.test_log_normaliser import Case, all_pairs, cases
from tests.mixers.test_mamba import assert_within
from tests.mixers.test_mlstm import activations
from tests.mixers.test_softmax_attention import observed

positive = st.builds(LinearAttention, **sizes, feature_map=st.sampled_from(["elu", "softmax"]))


def weights_of(case, given_scores):
    """Every weight w_tj (B, H, T, T) in float64, and LSE (B, H, T), pair by pair."""
    identity = torch.eye(case.tokens, dtype=torch.float64)
    values = identity.expand(case.batch, case.groups, -1, -1)
    return all_pairs(case, given_scores, values)


def past_shares(case, given_scores):
    """What comes from before of what each token reads, the sink included: (B, T, H)."""
    weights, normaliser = weights_of(case, given_scores)
    share = weights.tril(-1).sum(-1)
    if case.sinks:
        share = share + (given_scores.sinks.double()[:, None] - normaliser).exp()
    return share.transpose(1, 2), normaliser.transpose(1, 2)


@given(case=cases())
def test_what_is_retained_is_the_share_of_the_past(case):
    given_scores, value = case.scores(torch.float64)
    recurrence, _, _ = observed(case, given_scores, value)
    share, normaliser = past_shares(case, given_scores)
    retained = recurrence.in_gauge("retained")
    assert retained.gauge == "retained"
    reads = normaliser > -math.inf
    found = retained.eigenvalues().modulus[..., 0]
    torch.testing.assert_close(found[reads], share[reads], rtol=1e-11, atol=0)
    assert bool((found[~reads] == 1).all())


@given(case=cases())
def test_float32_gives_four_digits_of_it(case):
    given_scores, value = case.scores()
    recurrence, _, _ = observed(case, given_scores, value)
    share, normaliser = past_shares(case, given_scores)
    reads = normaliser > -math.inf
    found = recurrence.log_retained.exp()
    torch.testing.assert_close(found[reads], share[reads], rtol=1e-4, atol=0)


@given(case=cases())
def test_the_recurrence_in_it_is_the_attention(case):
    given_scores, value = case.scores()
    recurrence, inputs, output = observed(case, given_scores, value)
    found = recurrence.in_gauge("retained").run(inputs.double())
    assert_within(found.float(), output, 1e-4)


@given(case=cases())
def test_dsf_is_the_query_factor_times_it(case):
    """The factor from its own sums: all that t - 1 reads over what t reads of before it."""
    given_scores, value = case.scores(torch.float64)
    recurrence, _, _ = observed(case, given_scores, value)
    share, normaliser = past_shares(case, given_scores)
    sums = normaliser.exp()
    before = torch.zeros_like(sums[:, :1])
    if case.sinks:
        before = before + given_scores.sinks.double().exp()
    factor = torch.cat([before, sums[:, :-1]], 1) / (share * sums)
    counted = factor.isfinite() & (factor > 0)
    found = recurrence.log_query_factor
    torch.testing.assert_close(found.exp()[counted], factor[counted], rtol=1e-9, atol=0)
    dsf, retained = recurrence.log_decay, recurrence.in_gauge("retained").log_decay
    torch.testing.assert_close((found + retained)[counted], dsf[counted], rtol=1e-12, atol=1e-12)


def test_a_state_left_alone_keeps_the_product_of_what_is_retained():
    case = Case(1, 2, 2, 30, 8, 3, None, 0, None, True, False, 1)
    given_scores, value = case.scores(torch.float64)
    recurrence, inputs, _ = observed(case, given_scores, value)
    retained = recurrence.in_gauge("retained")
    share, _ = past_shares(case, given_scores)
    state = torch.randn(1, 4, 30, 3, dtype=torch.float64)
    left = state
    for t in range(9, 21):
        left = retained.at(t).apply(left)
    expected = state * share[:, 9:21].prod(1)[..., None, None]
    torch.testing.assert_close(left, expected, rtol=1e-11, atol=0)
    # Over the same stretch dsf has a ratio of normalisers: the factors between are its rest.
    log_sum = recurrence.log_query_factor[:, 9:21].sum(1) + share[:, 9:21].log().sum(1)
    ratio = recurrence.log_normaliser[:, 8] - recurrence.log_normaliser[:, 20]
    torch.testing.assert_close(log_sum, ratio)
    assert_within(retained.run(inputs), recurrence.run(inputs), 1e-12)


def retained_of(given_scores):
    """lambda (T,) in gauges retained and dsf, of one sequence and head."""
    value = torch.zeros_like(given_scores.key)
    recurrence = SoftmaxAttention(given_scores.query.shape[1]).observed(
        given_scores, *attend(given_scores, value)[1:], given_scores.sinks
    )
    return recurrence.log_retained, recurrence.log_decay


@given(
    case=cases().filter(lambda case: case.soft_cap is None),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_a_bias_on_the_keys_changes_dsf_and_not_what_is_retained(case, dtype):
    case = replace(case, sinks=False)
    given_scores, _ = case.scores(dtype)
    moved = 3 * torch.randn(case.key_width, dtype=dtype)
    other = replace(given_scores, key=given_scores.key + moved)
    (one, dsf), (two, other_dsf) = retained_of(given_scores), retained_of(other)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(two.exp(), one.exp(), rtol=tolerance, atol=0)
    if case.tokens > case.padding + 1:
        assert not torch.allclose(dsf.exp(), other_dsf.exp(), rtol=1e-3)


@pytest.mark.parametrize("slope", [0.5, 2.0])
def test_both_ways_to_write_alibi_retain_the_same(slope):
    tokens = 40
    place = torch.arange(tokens).float()
    later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    found = []
    for bias in (slope * place.expand(tokens, -1), slope * (place - place.unsqueeze(-1))):
        mask = GivenMask(bias.masked_fill(later, -math.inf)[None, None])
        zeros = torch.zeros(1, 1, tokens, 2)
        found.append(retained_of(Scores(zeros, zeros, 1.0, mask)))
    (one, dsf), (two, other_dsf) = found
    torch.testing.assert_close(one, two, rtol=1e-5, atol=0)
    # ALiBi alone: the token itself weighs 1, those before it exp(-slope), exp(-2 slope), ...
    last = torch.exp(-slope * torch.arange(1, tokens).double()).sum()
    assert one[0, -1, 0].exp() == pytest.approx(float(last / (1 + last)), rel=1e-5)
    torch.testing.assert_close((other_dsf - dsf)[0, 1:, 0].exp(),
                               torch.full((tokens - 1,), math.exp(slope)).double(),
                               rtol=1e-4, atol=0)  # fmt: skip


@given(place=st.integers(0, 19), seed=st.integers(0, 2**16), sinks=st.booleans())
def test_a_key_that_nobody_reads_does_not_enter(place, seed, sinks):
    case = Case(1, 1, 2, 20, 4, 3, None, 0, None, sinks, False, seed)
    given_scores, _ = case.scores(torch.float64)
    bias = torch.zeros(20, 20).masked_fill(torch.ones(20, 20).triu(1) > 0, -math.inf)
    bias[:, place] -= 1e4
    unread = replace(given_scores, mask=GivenMask(bias[None, None]))
    others = [t for t in range(20) if t != place]
    short = Case(1, 1, 2, 19, 4, 3, None, 0, None, sinks, False, seed)
    without = replace(
        given_scores, query=given_scores.query[:, :, others], key=given_scores.key[:, :, others]
    )
    found, _ = retained_of(unread)
    expected, _ = past_shares(short, without)
    assert float(found.max()) <= 0
    torch.testing.assert_close(found[:, others].exp(), expected, rtol=1e-10, atol=1e-300)
    if place:
        assert bool((found[:, place] == 0).all())  # it reads the others alone


@pytest.mark.parametrize("own", [-60.0, -5.0, 5.0, 17.0, 40.0, 200.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shares_near_none_and_all_keep_their_digits(own, dtype):
    """Against mpmath: 1 - p_tt down to e^-1000, and p_tt down to e^-60."""
    torch.manual_seed(0)
    tokens = 12
    # A coordinate of its own for every token makes s_tt what is asked for.
    shared, scale = torch.randn(tokens, 3), math.sqrt(abs(own))
    query = torch.cat([shared, math.copysign(scale, own) * torch.eye(tokens)], 1)
    key = torch.cat([torch.randn(tokens, 3), scale * torch.eye(tokens)], 1)
    query, key = (x.to(dtype)[None, None] for x in (query, key))
    found, _ = retained_of(Scores(query, key, 1.0))
    with mpmath.workdps(600):
        for t in range(1, tokens):
            row = [
                mpmath.exp(mpmath.fsum(mpmath.mpf(float(a)) * mpmath.mpf(float(b))
                                       for a, b in zip(query[0, 0, t], key[0, 0, s], strict=True)))
                for s in range(t + 1)
            ]  # fmt: skip
            exact = float(mpmath.log(mpmath.fsum(row[:-1]) / mpmath.fsum(row)))
            # A score of 1000 is known to 6e-5 in float32, and so are the odds, relatively.
            relative = (1e-13 if dtype == torch.float64 else 2e-7) * (10 + abs(own))
            assert float(found[0, t, 0]) == pytest.approx(exact, rel=relative)


def test_it_runs_where_the_product_of_shares_is_no_number():
    """Twenty nines in every p_tt: the state in this gauge falls by e^-46 a token."""
    tokens = 100
    torch.manual_seed(0)
    # Every token reads almost only itself but the last, which reads the past alone.
    eye = torch.eye(tokens, dtype=torch.float64)
    query, key, value = 46 * eye, eye.clone(), torch.randn(tokens, 2, dtype=torch.float64)
    query[-1] = 0.0
    given_scores = Scores(query[None, None], key[None, None], 1.0)
    output, *told = attend(given_scores, value[None, None])
    recurrence = SoftmaxAttention(1).observed(given_scores, *told).in_gauge("retained")
    assert float(recurrence.log_decay[0, 1:-1].sum()) < -4000
    found = recurrence.run(value[None, :, None])
    assert_within(found[0, :, 0], output[0, 0], 1e-12)
    assert_within(found[0, -1, 0], value.mean(0), 1e-12)


def test_documents_that_do_not_read_each_other_begin_anew():
    case = Case(2, 1, 2, 24, 4, 3, None, 0, None, False, False, 3)
    given_scores, value = case.scores(torch.float64)
    document = torch.arange(24) // 10
    reads = (document.unsqueeze(-1) == document).tril()
    given_scores = replace(given_scores, mask=GivenMask(reads[None, None]))
    recurrence, inputs, output = observed(case, given_scores, value)
    retained = recurrence.in_gauge("retained")
    none = retained.eigenvalues().modulus[0, :, 0, 0] == 0
    assert none.nonzero().flatten().tolist() == [0, 10, 20]
    assert_within(retained.run(inputs), output, 1e-12)
    assert torch.equal(retained.starts, recurrence.starts)


def test_changes_of_gauge_lead_back():
    case = Case(1, 1, 2, 12, 4, 3, None, 0, None, True, False, 0)
    given_scores, value = case.scores(torch.float64)
    recurrence, inputs, output = observed(case, given_scores, value)
    assert recurrence.default_gauges == ("dsf", "retained")
    retained = recurrence.in_gauge("retained")
    assert retained.in_gauge("dsf") is recurrence
    plain = retained.in_gauge("unnormalised")
    assert bool((plain.eigenvalues().modulus[:, 1:] == 1).all())
    assert_within(plain.in_gauge("retained").run(inputs), output, 1e-12)


@given(case=cases())
def test_scores_that_a_model_writes_out_give_the_same_odds(case):
    case = replace(case, sinks=False)
    given_scores, value = case.scores()
    written = given_scores.rows(0, case.tokens)
    # Eager attention masks with the lowest number there is.
    masked = written.masked_fill(written.isneginf(), torch.finfo(written.dtype).min)
    found, expected = log_odds(masked), attend(given_scores, value).log_odds
    assert torch.equal(found.isinf(), expected.isinf())
    finite = expected.isfinite()
    torch.testing.assert_close(found[finite], expected[finite], rtol=1e-5, atol=1e-5)


@given(
    mixer=positive, tokens=st.integers(1, 12), seed=st.integers(0, 2**16), loud=st.floats(0.01, 50)
)
def test_linear_attention_retains_the_share_of_the_past(mixer, tokens, seed, loud):
    hidden, p = random_layer(mixer, tokens, seed)
    observation = mixer.from_input(hidden, p)
    recurrence = observation.recurrence
    weights = scores(mixer, hidden, p)
    share = (weights.tril(-1).sum(-1) / weights.sum(-1)).transpose(1, 2)
    retained = recurrence.in_gauge("retained")
    torch.testing.assert_close(retained.log_decay.exp(), share, rtol=1e-11, atol=0)
    output = observation.finish(retained.run(observation.inputs))
    assert_within(output, linear_output(mixer, hidden, p), 1e-11)
    # Louder queries at some tokens: another nu_t, the same shares.
    by = torch.where(torch.arange(tokens) % 2 == 0, loud, 1.0).view(1, -1, 1, 1).double()
    louder = mixer.observed(recurrence.input_map.key, by * recurrence.output_map.query)
    torch.testing.assert_close(louder.log_retained, recurrence.log_retained, rtol=1e-9, atol=1e-13)


def test_linear_attention_in_float32_runs_in_it():
    torch.manual_seed(0)
    mixer = LinearAttention(2, 2, 4, 3)
    key, query = torch.rand(2, 1, 300, 2, 4)
    value = torch.randn(1, 300, 2, 3)
    recurrence = mixer.observed(key, query)
    found = recurrence.in_gauge("retained").run(value)
    assert_within(found, recurrence.run(value), 1e-4)


def test_features_that_meet_nothing_before_begin_anew_and_none_at_all_keep_everything():
    mixer = LinearAttention(2, 1, 2, 2, feature_map="relu")
    key = torch.tensor([[0.0, 1], [1, 0], [1, 0], [2, 0], [1, 0]]).double()[None, :, None]
    query = torch.tensor([[1.0, 0], [2, 0], [1, 0], [0, 0], [1, 0]]).double()[None, :, None]
    value = torch.arange(10, dtype=torch.float64).view(1, 5, 1, 2) + 1
    recurrence = mixer.observed(key, query)
    retained = recurrence.in_gauge("retained")
    # Token 0 and 3 read nothing; 1 only itself; 2 is half of what it reads, 4 a fifth.
    expected = torch.tensor([1, 0, 0.5, 1, 0.8], dtype=torch.float64)
    assert_within(retained.eigenvalues().modulus.flatten(), expected, 1e-15)
    assert_within(retained.run(value), recurrence.run(value), 1e-14)


@given(channels=st.integers(1, 4), tokens=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_rwkv4_retains_the_share_of_the_past(channels, tokens, seed):
    torch.manual_seed(seed)
    key, value = torch.randn(2, 2, tokens, channels, dtype=torch.float64)
    first, decay = torch.randn(2, channels, dtype=torch.float64)
    observation = RWKV4(channels).observation(key, value, first, {"time_decay": decay})
    assert observation.recurrence.default_gauges == ("unnormalised",)
    retained = observation.recurrence.in_gauge("retained")
    age = torch.arange(tokens).double()
    lag = (age.unsqueeze(-1) - age - 1).clamp(min=0)[None, :, :, None]
    past = torch.exp(key.unsqueeze(1) - lag * decay.exp())
    past = (past * torch.ones(tokens, tokens).tril(-1)[None, :, :, None]).sum(2)
    share = past / (past + torch.exp(key + first))
    torch.testing.assert_close(retained.log_decay.exp(), share, rtol=1e-9, atol=0)
    found = observation.finish(retained.run(observation.inputs))
    assert_within(found, observation.output(), 1e-10)


@given(mixer=norm, tokens=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_a_normaliser_that_is_no_sum_of_weights_has_none(mixer, tokens, seed):
    assert isinstance(mixer, NormAttention)
    recurrence = mixer.from_input(*random_layer(mixer, tokens, seed)).recurrence
    assert recurrence.in_gauge("retained") is recurrence
    assert recurrence.log_query_factor is None
    matrix = MLSTM(heads=1, state_size=2, head_width=2, soft_cap=15.0)
    recurrence = matrix.observation(*activations(matrix, tokens, seed)).recurrence
    assert recurrence.in_gauge("retained") is recurrence
    assert recurrence.in_gauge("dsf").in_gauge("retained") is recurrence
