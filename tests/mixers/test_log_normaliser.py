"""Attention with its log-normaliser: every kernel against all pairs of tokens in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.errors import UnsupportedError
from spectrakit.mixers import log_normaliser
from spectrakit.mixers.attention_scores import CausalMask, GivenMask, Scores
from spectrakit.mixers.log_normaliser import attend

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """An attention to compute: sizes and what shapes its scores."""

    batch: int
    groups: int
    per_group: int
    tokens: int
    key_width: int
    value_width: int
    window: int | None
    padding: int
    soft_cap: float | None
    sinks: bool
    bias: bool
    seed: int

    def scores(self, dtype=torch.float32, loudness=2.0):
        """Random queries and keys in `dtype`, and the mask."""
        torch.manual_seed(self.seed)
        heads = self.groups * self.per_group
        query = loudness * torch.randn(self.batch, self.tokens, heads, self.key_width)
        key = torch.randn(self.batch, self.tokens, self.groups, self.key_width)
        value = torch.randn(self.batch, self.tokens, self.groups, self.value_width)
        sinks = torch.randn(heads) if self.sinks else None
        query, key, value = (x.to(dtype).transpose(1, 2) for x in (query, key, value))
        scale = 1 / math.sqrt(self.key_width)
        return Scores(query, key, scale, self.mask(heads), self.soft_cap, sinks), value

    def mask(self, heads):
        if self.window is None and not self.padding and not self.bias:
            return None
        mask = CausalMask(self.tokens, CPU, self.window, self.valid())
        if not self.bias:
            return mask
        bias = torch.randn(1, heads, self.tokens, self.tokens)
        return GivenMask(mask.rows(0, self.tokens) + bias)

    def valid(self):
        if not self.padding:
            return None
        valid = torch.ones(self.batch, self.tokens, dtype=torch.bool)
        valid[0, : self.padding] = False
        return valid


@st.composite
def cases(draw):
    tokens = draw(st.integers(1, 40))
    return Case(
        batch=draw(st.integers(1, 2)),
        groups=draw(st.integers(1, 3)),
        per_group=draw(st.integers(1, 3)),
        tokens=tokens,
        key_width=draw(st.integers(1, 9)),
        value_width=draw(st.integers(1, 9)),
        window=draw(st.none() | st.integers(1, 12)),
        padding=draw(st.integers(0, tokens)),
        soft_cap=draw(st.sampled_from([None, 0.5, 20.0])),
        sinks=draw(st.booleans()),
        bias=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )


def all_pairs(case, scores, value):
    """Output and log-normaliser with every score written out, in float64, pair by pair."""
    query, key, value = (x.double() for x in (scores.query, scores.key, value))
    key, value = (x.repeat_interleave(case.per_group, 1) for x in (key, value))
    pairs = torch.einsum("bhtk,bhsk->bhts", query, key) * scores.scale
    if case.soft_cap is not None:
        pairs = case.soft_cap * torch.tanh(pairs / case.soft_cap)
    if case.bias:
        given = scores.mask.values.double()
        pairs = pairs + given.where(given.isfinite(), torch.zeros_like(given))
    for t in range(case.tokens):
        for s in range(case.tokens):
            if s > t or (case.window is not None and t - s >= case.window):
                pairs[:, :, t, s] = -math.inf
    if case.padding:
        pairs[0, :, :, : case.padding] = -math.inf
    exponentials = pairs.exp()
    normaliser = exponentials.sum(-1)
    if case.sinks:
        normaliser = normaliser + scores.sinks.double().exp()[:, None]
    weights = exponentials / normaliser.unsqueeze(-1).where(
        normaliser.unsqueeze(-1) > 0, torch.ones(())
    )
    return weights @ value, normaliser.log()


def assert_same(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert torch.equal(one.isneginf(), other.isneginf())
        finite = other.isfinite()
        torch.testing.assert_close(
            one[finite].double(), other[finite], rtol=tolerance, atol=tolerance
        )


@given(case=cases())
def test_kernels_are_the_sum_over_all_pairs(case):
    scores, value = case.scores()
    assert_same(attend(scores, value)[:2], all_pairs(case, scores, value), 1e-5)


@given(case=cases(), rows=st.integers(1, 50))
def test_blocks_of_any_size_are_the_sum_over_all_pairs(case, rows):
    scores, value = case.scores()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_normaliser, "_ROWS", rows)
        found = attend(scores, value)[:2]
        patch.setattr(log_normaliser, "_KERNELS", {})
        written_out = attend(scores, value)[:2]
    expected = all_pairs(case, scores, value)
    assert_same(found, expected, 1e-5)
    assert_same(written_out, expected, 1e-5)


@given(case=cases())
def test_float64_keeps_its_digits(case):
    scores, value = case.scores(torch.float64)
    assert_same(attend(scores, value)[:2], all_pairs(case, scores, value), 1e-13)


@given(case=cases())
def test_half_precision_has_a_normaliser_in_float32(case):
    scores, value = case.scores(torch.bfloat16)
    output, normaliser, _ = attend(scores, value)
    assert (output.dtype, normaliser.dtype) == (torch.bfloat16, torch.float32)
    _, expected = all_pairs(case, scores, value)
    finite = expected.isfinite()
    torch.testing.assert_close(normaliser[finite].double(), expected[finite], rtol=2e-2, atol=5e-2)


@pytest.mark.parametrize("soft_cap", [None, 30.0], ids=["kernel", "written-out"])
def test_the_logarithm_is_natural(soft_cap):
    """A token that reads n equal scores s has LSE = s + ln n; in base 2 it would be s' + lb n."""
    key = torch.full((1, 1, 300, 2), 0.5)
    scores = Scores(torch.zeros_like(key), key, 1.0, soft_cap=soft_cap)
    normaliser = attend(scores, key).log_normaliser
    expected = torch.arange(1, 301).double().log()
    torch.testing.assert_close(normaliser[0, 0].double(), expected, rtol=1e-6, atol=1e-6)
    if soft_cap is None:
        loud = Scores(torch.full_like(key, 3.0), key, 1.0)  # every score is 3
        found = attend(loud, key).log_normaliser[0, 0].double()
        torch.testing.assert_close(found, expected + 3, rtol=1e-6, atol=1e-6)


def test_scores_of_hundreds_do_not_overflow():
    case = Case(1, 1, 2, 60, 8, 8, 16, 0, None, True, False, 3)
    scores, value = case.scores(loudness=300.0)
    output, normaliser, _ = attend(scores, value)
    assert normaliser.abs().max() > 500
    wide = Scores(scores.query.double(), scores.key.double(), scores.scale, scores.mask,
                  sinks=scores.sinks)  # fmt: skip
    expected = attend(wide, value.double())
    torch.testing.assert_close(normaliser.double(), expected[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(output.double(), expected[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("t", [0, 130, 298])
def test_reading_a_later_token_is_refused(t):
    """Wherever it is: in the first block of tokens or a later one, one token ahead."""
    reads = torch.ones(1, 1, 300, 300, dtype=torch.bool).tril()
    key = torch.randn(1, 1, 300, 2)
    attend(Scores(key, key, 1.0, GivenMask(reads)), key)
    reads[..., t, t + 1] = True
    with pytest.raises(UnsupportedError, match="no causal recurrence"):
        attend(Scores(key, key, 1.0, GivenMask(reads)), key)


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 1, 5, 13)], ids=["causal", "masked"])
def test_the_kernel_of_cuda_takes_what_it_is_given(mask):
    """No accelerator here: its shapes, from torch's own description of the kernel."""
    heads, tokens = 6, 5 if mask is not None else 13
    query = torch.empty(2, heads, tokens, 8, device="meta")
    key, value = (torch.empty(2, 2, 13, width, device="meta") for width in (8, 4))
    mask = None if mask is None else mask.to("meta")
    output, normaliser = log_normaliser._efficient_on_cuda(query, key, value, 0.3, mask)
    assert output.shape == (2, heads, tokens, 4)
    assert normaliser.shape == (2, heads, tokens)
