"""LRU: the recurrence against its convolution with matrices."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import LRU
from tests.mixers.test_mamba import assert_within
from tests.support.convolution import mixed

layers = st.builds(LRU, st.integers(1, 4), st.integers(1, 5))


def random_parameters(mixer, seed):
    torch.manual_seed(seed)
    p = {role: torch.randn(shape) for role, shape in mixer.shapes().items()}
    p["nu_log"] = torch.rand_like(p["nu_log"]) * 6 - 5
    p["theta_log"] = torch.rand_like(p["theta_log"]) * 4 - 2  # angles beyond a turn, too
    return p


def powers_of(p):
    """lambda, in numpy."""
    values = {role: value.double().numpy() for role, value in p.items()}
    return np.exp(-np.exp(values["nu_log"]) + 1j * np.exp(values["theta_log"]))


def convolution(inputs, p):
    """Re(C lambda^lag exp(gamma_log) B), over all pairs of tokens: (B, T, 1, Q)."""
    values = {role: value.double().numpy() for role, value in p.items()}
    powers = powers_of(p)
    b = np.exp(values["gamma_log"])[:, None] * (values["B_re"] + 1j * values["B_im"])
    c = values["C_re"] + 1j * values["C_im"]
    kernel = np.stack([((c * powers**lag) @ b).real for lag in range(inputs.shape[1])])
    return mixed(kernel, inputs) + p["D"].double() * inputs


@given(mixer=layers, tokens=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_recurrence_is_the_convolution(mixer, tokens, seed):
    p = random_parameters(mixer, seed)
    inputs = torch.randn(2, tokens, 1, mixer.model_width, dtype=torch.float64)
    recurrence = mixer.from_weights(p)
    assert_within(recurrence.run(inputs), convolution(inputs, p), 1e-11)
    np.testing.assert_allclose(recurrence.eigenvalues().values[0], powers_of(p), rtol=1e-12)
    assert (recurrence.step, recurrence.continuous_eigenvalues()) == (None, None)


@pytest.mark.parametrize("nu_log", [-3.0, -20.0, -35.0])
def test_slow_decays_keep_their_digits(nu_log):
    mixer = LRU(1, 1)
    p = random_parameters(mixer, 0) | {"nu_log": torch.tensor([nu_log])}
    with mpmath.workdps(40):
        timescale = float(mpmath.exp(-mpmath.mpf(nu_log)))
    found = float(mixer.from_weights(p).eigenvalues().timescale[0, 0])
    assert found == pytest.approx(timescale, rel=1e-14)
    assert math.isfinite(found)
