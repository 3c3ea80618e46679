"""Retention and Lightning attention: decays by formula, and their masked product of all pairs."""

from __future__ import annotations

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import LightningAttention, Retention
from tests.mixers.test_mamba import assert_within


@given(heads=st.integers(1, 64), key=st.integers(1, 9), value=st.integers(1, 9))
def test_retention_is_the_closed_form(heads, key, value):
    recurrence = Retention(heads, key, value).from_weights({})
    eigenvalues = recurrence.eigenvalues()
    assert (recurrence.mode, eigenvalues.multiplicity) == ("static", key * value)
    with mpmath.workdps(40):
        for h in range(heads):
            exact = -mpmath.log1p(-(mpmath.mpf(2) ** (-5 - h)))
            assert float(eigenvalues.decay_rate[h, 0]) == pytest.approx(float(exact), rel=1e-14)


@pytest.mark.parametrize("layers", [1, 2, 8])
@pytest.mark.parametrize("heads", [1, 6, 64])
def test_lightning_decays_are_those_of_transformers(heads, layers):
    from transformers.models.minimax.configuration_minimax import MiniMaxConfig
    from transformers.models.minimax.modeling_minimax import MiniMaxLightningAttention

    config = MiniMaxConfig(
        hidden_size=heads, num_attention_heads=heads, num_hidden_layers=layers, block_size=2
    )
    for layer in range(layers):
        slopes = MiniMaxLightningAttention(config, layer).slope_rate.flatten()
        mixer = LightningAttention(heads, 4, 4, layer=layer, layers=layers)
        found = mixer.from_weights({}).eigenvalues().decay_rate.squeeze(-1)
        torch.testing.assert_close(found.float(), slopes, rtol=1e-6, atol=0)


@given(
    mixer=st.one_of(
        st.builds(Retention, st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
        st.builds(
            LightningAttention,
            st.integers(1, 4),
            st.integers(1, 5),
            st.integers(1, 5),
            st.integers(0, 2),
            st.just(3),
        ),
    ),
    tokens=st.integers(1, 10),
    seed=st.integers(0, 2**16),
)
def test_recurrence_is_the_masked_product_of_all_pairs(mixer, tokens, seed):
    torch.manual_seed(seed)
    key, query = torch.randn(2, 2, tokens, mixer.heads, mixer.state_size, dtype=torch.float64)
    value = torch.randn(2, tokens, mixer.heads, mixer.head_width, dtype=torch.float64)
    age = (torch.arange(tokens)[:, None] - torch.arange(tokens)).double()
    kernel = torch.exp(mixer.log_decay()[:, None, None] * age).tril()
    expected = torch.einsum("bthn,bshn,hts,bshp->bthp", query, key, kernel, value)
    recurrence = mixer.observed(key, query)
    assert recurrence.mode == "static"
    assert_within(recurrence.run(value), expected, 1e-12)
