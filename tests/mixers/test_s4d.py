"""S4D: the recurrence against the convolution kernel it is trained with, version by version."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import block_diag, expm

from spectrakit.mixers import S4D
from spectrakit.mixers.s4_parameters import S4Parameters
from tests.mixers.test_mamba import assert_within
from tests.support.convolution import as_complex, convolved

TRANSFORMS = {
    "none": lambda x: x,
    "exp": np.exp,
    "relu": lambda x: np.maximum(x, 0),
    "offset_relu": lambda x: np.maximum(x, 0) + 1e-4,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


@st.composite
def shapes(draw):
    """Stored shapes of one output: version 4's, version 3's or the minimal file's."""
    systems, states = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    channels = systems * draw(st.integers(1, 3))
    pair = draw(st.sampled_from([(2,), ()]))
    per_state = draw(st.sampled_from([(), (1,), (states,)]))
    found = {
        "A_real": (systems, states),
        "A_imag": (systems, states),
        "step": (channels, *per_state),
        "B": draw(st.sampled_from([(1, systems, states, *pair), (systems, states, *pair)])),
        "C": draw(st.sampled_from([(1, channels, states, *pair), (channels, states, *pair)])),
        "D": draw(st.sampled_from([(1, channels), (channels,)])),
    }
    absent = draw(st.sets(st.sampled_from(["B", "D"])))
    return {
        role: shape
        for role, shape in found.items()
        if role not in absent and not (role == "A_imag" and not pair)
    }


parameters = st.builds(
    S4Parameters,
    shapes(),
    real_transform=st.sampled_from(sorted(TRANSFORMS)),
    imaginary_transform=st.sampled_from(sorted(TRANSFORMS)),
    sign=st.sampled_from([-1, 1]),
    step_transform=st.sampled_from(sorted(TRANSFORMS)),
    sinh_step=st.booleans(),
    bandlimit=st.sampled_from([None, 0.1, 1.0]),
)


def random_parameters(stored, seed):
    """Positive where a transform may be "none": A must decay and the step be a step."""
    torch.manual_seed(seed)
    p = {role: torch.randn(shape) for role, shape in stored.stored_shapes.items()}
    for role, size in (("A_real", 1.0), ("A_imag", 6.0), ("step", 0.3)):
        if role in p:
            p[role] = torch.rand_like(p[role]) * size + 0.01
    return p


def tiled(values, channels):
    """Version 4 gives channel h the system h mod S."""
    return np.stack([values[h % len(values)] for h in range(channels)])


def continuous(stored, p):
    """A (H, M), Delta (H, 1 or M), B and C (H, M) and twice-or-once, in numpy."""
    values = {role: value.double().numpy() for role, value in p.items()}
    channels = stored.channels
    a = -TRANSFORMS[stored.real_transform](values["A_real"]) + 0j
    if "A_imag" in p:
        a = a + stored.sign * 1j * TRANSFORMS[stored.imaginary_transform](values["A_imag"])
    step = values["step"].reshape(channels, -1)
    step = TRANSFORMS[stored.step_transform](np.sinh(step) if stored.sinh_step else step)
    pairs = as_complex if "A_imag" in p else np.asarray
    b = pairs(values["B"]).reshape(a.shape) if "B" in p else np.ones_like(a)
    c = pairs(values["C"]).reshape(channels, -1)
    a, b = tiled(a, channels), tiled(b, channels)
    if stored.bandlimit is not None:
        c = c * (step * np.abs(a.imag) / (2 * math.pi) < stored.bandlimit / 2)
    return a, step, b, c


def vandermonde(stored, p, rule, tokens):
    """K_l = 2 Re sum_n C_n B_bar_n A_bar_n^l: (H, tokens)."""
    a, step, b, c = continuous(stored, p)
    z, lags = step * a, np.arange(tokens)
    if rule == "zoh":
        gain, powers = (np.exp(z) - 1) / a, np.exp(z[..., None] * lags)
    else:
        gain = step / (1 - z / 2)
        powers = ((1 + z / 2) / (1 - z / 2))[..., None] ** lags
    return 2 * np.einsum("hn,hnl->hl", c * b * gain, powers).real


def plus_feedthrough(p, outputs, inputs):
    if "D" not in p:
        return outputs
    return outputs + p["D"].double().reshape(-1, 1) * inputs


@pytest.mark.parametrize("rule", ["zoh", "bilinear"])
@given(stored=parameters, tokens=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_recurrence_is_the_convolution(rule, stored, tokens, seed):
    mixer = S4D(stored, rule)
    p = random_parameters(stored, seed)
    recurrence = mixer.from_weights(p)
    inputs = torch.randn(2, tokens, mixer.heads, 1, dtype=torch.float64)
    expected = convolved(vandermonde(stored, p, rule, tokens), inputs)
    assert_within(recurrence.run(inputs), plus_feedthrough(p, expected, inputs), 1e-11)
    assert recurrence.operator.state_size == mixer.state_size
    assert recurrence.operator.heads == mixer.heads


@given(stored=parameters, seed=st.integers(0, 2**16), length=st.integers(1, 9))
def test_the_softmax_rule_normalises_over_the_kernel(stored, seed, length):
    """Its real part is taken once: what version 4 computes with disc=dss, but for its guard."""
    p = random_parameters(stored, seed)
    a, step, b, c = continuous(stored, p)
    powers = np.exp((step * a)[..., None] * np.arange(length))
    kernel = np.einsum("hn,hnl->hl", c * b / a / powers.sum(-1), powers).real
    total = np.abs((np.exp(step * a * length) - 1) * a).min()
    recurrence = S4D(stored, "dss", kernel_length=length).from_weights(p)
    inputs = torch.randn(1, length, stored.channels, 1, dtype=torch.float64)
    expected = plus_feedthrough(p, convolved(kernel, inputs), inputs)
    scale = np.abs(c * b / a / powers.sum(-1)).sum() * np.abs(inputs.numpy()).sum()
    difference = (recurrence.run(inputs) - expected).abs().max()
    assert float(difference) <= scale * (1.1e-7 / total**2 + 1e-11)
    unknown = S4D(stored, "dss").from_weights(p)
    assert unknown.input_map is None
    torch.testing.assert_close(
        unknown.eigenvalues().log_modulus, recurrence.eigenvalues().log_modulus
    )


@given(stored=parameters, seed=st.integers(0, 2**16))
def test_eigenvalues_are_those_of_the_matrix_exponential(stored, seed):
    p = random_parameters(stored, seed)
    a, step, *_ = continuous(stored, p)
    recurrence = S4D(stored, "zoh").from_weights(p)
    found = recurrence.eigenvalues().values
    for h in range(stored.channels):
        generator = np.diag(step[h] * a[h])
        if not stored.is_real:
            generator = block_diag(generator, generator.conj())
        expected = np.linalg.eigvals(expm(generator))
        gaps = np.abs(found[h].numpy()[:, None] - expected[None, :])
        assert max(gaps.min(0).max(), gaps.min(1).max()) < 1e-12
    continuous_values = recurrence.continuous_eigenvalues().values
    assert continuous_values.shape == found.shape
    np.testing.assert_allclose(
        continuous_values[:, : a.shape[1]].numpy(), a, rtol=1e-13, atol=1e-300
    )


def test_half_precision_weights_are_widened_before_the_exponential():
    stored = S4Parameters({"A_real": (1, 1), "A_imag": (1, 1), "step": (1,), "C": (1, 1, 2)})
    p = {
        "A_real": torch.tensor([[14.0]]).half(),  # exp(14) is beyond half precision
        "A_imag": torch.tensor([[3.0]]).half(),
        "step": torch.tensor([-5.0]).half(),
        "C": torch.ones(1, 1, 2).half(),
    }
    rate = float(S4D(stored, "zoh").from_weights(p).eigenvalues().decay_rate[0, 0])
    assert rate == pytest.approx(math.exp(14) * math.exp(-5), rel=1e-14)


def test_several_outputs_leave_the_spectrum():
    shapes = {"A_real": (2, 3), "A_imag": (2, 3), "step": (4, 1), "C": (2, 4, 3, 2)}
    stored = S4Parameters(shapes | {"B": (1, 2, 3, 2), "D": (1, 4)})
    recurrence = S4D(stored, "zoh").from_weights(random_parameters(stored, 0))
    assert recurrence.eigenvalues().log_modulus.shape == (4, 6)
    assert (recurrence.input_map, recurrence.output_map, recurrence.feedthrough) == (None,) * 3
