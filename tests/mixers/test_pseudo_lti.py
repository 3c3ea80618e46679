"""Pseudo-LTI Mamba-2: against its quadratic form, and the decays that it is written with."""

from __future__ import annotations

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers.pseudo_lti import PseudoLTIMamba2
from tests.mixers import test_mamba2
from tests.mixers.test_mamba import assert_within


def random_parameters(mixer, seed):
    p = test_mamba2.random_parameters(mixer, seed)
    del p["A_log"]
    return p | {"A": torch.rand(mixer.heads, dtype=torch.float64) * 6 - 5}


def quadratic_form(mixer, hidden, p):
    decay = torch.nn.functional.logsigmoid(-p["A"])  # log exp(-softplus(A))
    return test_mamba2.quadratic_form(mixer, hidden, p, decay)


@given(heads=st.integers(1, 4), tokens=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_recurrence_is_the_quadratic_form(heads, tokens, seed):
    mixer = PseudoLTIMamba2(model_width=3, heads=heads, head_width=2, state_size=3)
    p = random_parameters(mixer, seed)
    hidden = torch.randn(2, tokens, 3, dtype=torch.float64)
    seen = mixer.from_input(hidden, p)
    assert seen.recurrence.mode == "static"
    assert_within(seen.output(), quadratic_form(mixer, hidden, p), 1e-10)


@pytest.mark.parametrize("stored", [-40.0, -8.0, -2.0, 0.0, 5.0])
def test_lambda_is_the_published_one_to_the_last_digits(stored):
    mixer = PseudoLTIMamba2(model_width=1, heads=1, head_width=1, state_size=1)
    found = mixer.from_weights({"A": torch.tensor([stored])}).eigenvalues()
    with mpmath.workdps(40):
        rate = mpmath.log(1 + mpmath.exp(mpmath.mpf(stored)))
        assert float(found.decay_rate) == pytest.approx(float(rate), rel=1e-14)
