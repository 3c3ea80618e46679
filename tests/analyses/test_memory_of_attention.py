"""What the memory analysis says of softmax attention: how many keys are different."""

from __future__ import annotations

import pytest
import torch

from spectrakit.errors import AnalysisError
from spectrakit.mixers.attention_scores import Scores, ScoresOfWeights
from spectrakit.mixers.softmax_attention import SoftmaxAttention
from tests.analyses.memory_layers import every, tables


def attention(keys, tokens=9, weights=False):
    query = torch.randn(1, 4, tokens, 6)
    scores = Scores(query, keys, scale=0.4)
    normaliser = scores.rows(0, tokens).logsumexp(-1)
    shown = scores
    if weights:
        shown = ScoresOfWeights(scores.rows(0, tokens).softmax(-1), normaliser)
    return SoftmaxAttention(4).observed(shown, normaliser)


def test_softmax_attention_says_how_many_keys_are_different():
    torch.manual_seed(0)
    keys = 5 * torch.randn(1, 2, 9, 6)
    keys[0, 1, 4:] = keys[0, 1, 3]  # of the last two heads
    curves, summaries = tables((0, attention(keys), every(1, 9)), positions=1)
    assert curves == []
    assert [(row["head"], row["key_kernel_rank"], row["keys"]) for row in summaries] == [
        (None, 6.5, 9), (0, 9, 9), (3, 4, 9),
    ]  # fmt: skip
    assert all("keeps every key" in row["reason"] for row in summaries)
    assert {row["rank"] for row in summaries} == {None}


def test_of_many_keys_some_are_compared():
    torch.manual_seed(0)
    keys = 5 * torch.randn(1, 2, 600, 6)
    _, summaries = tables((0, attention(keys, tokens=600), every(1, 600)), positions=1)
    assert {row["keys"] for row in summaries} == {512}
    assert {row["key_kernel_rank"] for row in summaries} == {512}


def test_a_nan_names_its_layer_and_token():
    keys = torch.randn(1, 2, 9, 6)
    keys[0, 1, 5, 2] = torch.nan
    with pytest.raises(AnalysisError, match=r"layer 2 .*a key is NaN.*: .* token 5"):
        tables((2, attention(keys), every(1, 9)))


def test_attention_without_its_keys_says_so():
    torch.manual_seed(0)
    one = attention(torch.randn(1, 4, 9, 6), weights=True)
    _, (row,) = tables((0, one, every(1, 9)), (0, one, every(1, 9)))
    assert row["reason"] == "the model shows the weights of its attention, not the keys"
