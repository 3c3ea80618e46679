"""Discretisation rules against their formulas in many digits."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from spectrakit.dynamics.discretize import (
    bilinear,
    dss_exp,
    dss_softmax,
    with_conjugates,
    wrapped,
    zero_order_hold,
)

real_parts = st.floats(-50, -1e-9) | st.sampled_from([-1e-12, 0.0, 0.5, -2.0, -200.0])
imaginary_parts = st.floats(-1e4, 1e4) | st.sampled_from([0.0, 1e-9, math.pi, -math.pi])
steps = st.floats(1e-5, 2.0)


def one(value):
    return torch.tensor([[value]], dtype=torch.complex128)


def step_of(value):
    return torch.tensor([[value]], dtype=torch.float64)


def close(found, exact, tolerance=1e-13, atol=1e-300):
    exact = complex(exact)
    found = complex(found)
    assert abs(found - exact) <= tolerance * abs(exact) + atol, (found, exact)


def exact_modulus_and_phase(value):
    return float(mpmath.log(abs(value))), float(mpmath.arg(value))


def same_angle(found, exact, tolerance):
    assert abs(math.remainder(found - exact, 2 * math.pi)) <= tolerance


@given(real=real_parts, imaginary=imaginary_parts, step=steps)
@example(real=-1e-12, imaginary=0.0, step=1e-5)  # 1 - |lambda| = 1e-17: below float64 near 1
@example(real=0.0, imaginary=0.0, step=0.1)
def test_zero_order_hold(real, imaginary, step):
    found = zero_order_hold(one(complex(real, imaginary)), step_of(step))
    with mpmath.workdps(60):
        generator = mpmath.mpc(real, imaginary)
        z = mpmath.mpf(step) * generator
        assert float(found.log_decay) == pytest.approx(float(z.real), rel=1e-15)
        # The phase inherits the rounding of Delta Im lambda, which may be many turns.
        same_angle(float(found.phase), float(mpmath.arg(mpmath.exp(z))), 1e-15 * abs(z) + 1e-15)
        assert abs(float(found.phase)) <= math.pi
        gain = mpmath.mpf(step) if generator == 0 else (mpmath.exp(z) - 1) / generator
        rounding = 4e-16 * float(abs(z)) / max(float(abs(generator)), 1e-300)
        close(found.gain, gain, atol=rounding)


@given(real=real_parts, imaginary=imaginary_parts, step=steps)
@example(real=-1e-12, imaginary=0.0, step=1e-5)
@example(real=-20.0, imaginary=0.0, step=0.1)  # lambda_bar = 0 but for rounding
def test_bilinear(real, imaginary, step):
    found = bilinear(one(complex(real, imaginary)), step_of(step))
    with mpmath.workdps(60):
        z = mpmath.mpf(step) * mpmath.mpc(real, imaginary)
        exact = (1 + z / 2) / (1 - z / 2)
        close(found.gain, mpmath.mpf(step) / (1 - z / 2))
        if abs(exact) < 1e-12:
            assert float(found.log_decay) < math.log(1e-12)
            return
        log_modulus, phase = exact_modulus_and_phase(exact)
        # What rounding z alone makes of a logarithm that is far from the unit circle.
        conditioned = 1e-15 * float(abs(z) / abs(1 + z / 2))
        assert float(found.log_decay) == pytest.approx(log_modulus, rel=1e-13, abs=conditioned)
        same_angle(float(found.phase), phase, 1e-14 + conditioned)


@pytest.mark.parametrize("rate", [1e-3, 1e-9, 1e-15])
def test_slow_decays_keep_their_digits(rate):
    """Through |lambda_bar| itself, a rate of 1e-15 would be 1.1e-15."""
    for rule in (zero_order_hold, bilinear):
        found = rule(one(complex(-rate, 2.0)), step_of(1.0))
        with mpmath.workdps(60):
            z = mpmath.mpc(-mpmath.mpf(rate), 2)
            exact = mpmath.exp(z) if rule is zero_order_hold else (1 + z / 2) / (1 - z / 2)
            expected = float(mpmath.log(abs(exact)))
        assert float(found.log_decay) == pytest.approx(expected, rel=1e-14)


def test_an_angle_within_half_a_turn_is_unchanged():
    angles = torch.tensor([-math.pi, -3.0, -1e-300, 0.0, 1e-17, 1.1, math.pi], dtype=torch.float64)
    assert torch.equal(wrapped(angles), angles)
    assert float(wrapped(step_of(7.0))) == pytest.approx(7 - 2 * math.pi, rel=1e-15)


@given(real=st.floats(-20, 20), imaginary=st.floats(-50, 50), step=st.floats(1e-3, 0.3))
def test_dss_softmax_normalises_each_kernel(real, imaginary, step):
    """The kernel gain exp(z l), l < L, sums to 1 / lambda, but for the guard of the division."""
    length, generator = 12, complex(real, imaginary)
    found = dss_softmax(one(generator), one(step * generator), length)
    with mpmath.workdps(60):
        z = mpmath.mpf(step) * mpmath.mpc(generator)
        total = sum(mpmath.exp(z * k) for k in range(length))
        sign = -1 if real > 0 else 1
        guarded = abs((mpmath.exp(sign * z * length) - 1) * generator) ** 2
        if guarded < 1e-3:  # the guard is most of the denominator there
            assert torch.isfinite(found.gain.abs()).all()
            return
        close(found.gain, 1 / (mpmath.mpc(generator) * total), tolerance=1.01e-7 / guarded + 1e-11)


def test_dss_exp_is_zero_order_hold_where_lambda_is_not_small():
    generator = torch.tensor([-0.5 + 2j, -3 - 1j], dtype=torch.complex128)
    scaled = 0.1 * generator.unsqueeze(0)
    held = zero_order_hold(generator.unsqueeze(0), step_of(0.1))
    found = dss_exp(generator, scaled)
    torch.testing.assert_close(found.gain, held.gain, rtol=1e-13, atol=0)
    assert torch.equal(dss_exp(generator, scaled, scale=False).gain, torch.ones_like(scaled))
    # Below the guard, 1 / lambda is cut to lambda^* / 1e-7.
    tiny = torch.tensor([-1e-5 + 0j], dtype=torch.complex128)
    cut = dss_exp(tiny, tiny.unsqueeze(0)).gain
    assert float(cut.real) == pytest.approx(math.expm1(-1e-5) * -1e-5 / 1e-7)


def test_conjugates_follow_the_states():
    system = zero_order_hold(
        torch.randn(2, 3, dtype=torch.complex128), torch.rand(2, 1, dtype=torch.float64)
    )
    whole = system.with_conjugates()
    values = whole.operator.eigenvalues().values
    assert values.shape == (2, 6)
    assert torch.equal(values[:, 3:], values[:, :3].conj())
    assert torch.equal(whole.gain, with_conjugates(system.gain))
