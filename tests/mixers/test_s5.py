"""S5: the recurrence against its convolution with matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import S5
from tests.mixers.test_mamba import assert_within
from tests.support.convolution import as_complex, mixed

layers = st.builds(
    S5,
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(["zoh", "bilinear"]),
    conjugate_symmetry=st.booleans(),
    clipped=st.booleans(),
)


def random_parameters(mixer, seed):
    torch.manual_seed(seed)
    p = {role: torch.randn(shape) for role, shape in mixer.shapes().items()}
    p["Lambda_re"] = p["Lambda_re"] - 0.5  # most decay, some grow
    p["Lambda_im"] = p["Lambda_im"] * 10
    p["log_step"] = torch.rand_like(p["log_step"]) * 3 - 4
    return p


def continuous(mixer, p):
    real = p["Lambda_re"].double().numpy()
    real = np.minimum(real, -1e-4) if mixer.clipped else real
    return real + 1j * p["Lambda_im"].double().numpy()


def discrete(mixer, generator, step):
    """Lambda_bar and what B is multiplied with, both (P,)."""
    if mixer.discretisation == "zoh":
        return np.exp(step * generator), (np.exp(step * generator) - 1) / generator
    return (1 + step / 2 * generator) / (1 - step / 2 * generator), step / (
        1 - step / 2 * generator
    )


def convolution(mixer, inputs, p):
    """Re(C Lambda_bar^lag B_bar), over all pairs of tokens: (B, T, 1, Q)."""
    step = np.exp(p["log_step"].double().numpy()[:, 0])
    powers, gain = discrete(mixer, continuous(mixer, p), step)
    b, c = as_complex(p["B"]), as_complex(p["C"])
    lags = range(inputs.shape[1])
    kernel = np.stack([((c * powers**lag) @ (gain[:, None] * b)).real for lag in lags])
    kernel = kernel * (2 if mixer.conjugate_symmetry else 1)
    return mixed(kernel, inputs) + p["D"].double() * inputs


@given(mixer=layers, tokens=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_recurrence_is_the_convolution(mixer, tokens, seed):
    p = random_parameters(mixer, seed)
    inputs = torch.randn(2, tokens, 1, mixer.model_width, dtype=torch.float64)
    expected = convolution(mixer, inputs, p)
    assert_within(mixer.from_weights(p).run(inputs), expected, 1e-11)


@given(mixer=layers, seed=st.integers(0, 2**16))
def test_eigenvalues_are_the_closed_form(mixer, seed):
    p = random_parameters(mixer, seed)
    generator = continuous(mixer, p)
    step = np.exp(p["log_step"].double().numpy()[:, 0])
    expected, _ = discrete(mixer, generator, step)
    recurrence = mixer.from_weights(p)
    found = recurrence.eigenvalues().values
    assert found.shape == recurrence.generator.shape == recurrence.step.shape
    assert found.shape == (1, mixer.state_size)
    np.testing.assert_allclose(found[0, : mixer.stored_states], expected, rtol=1e-11)
    if mixer.conjugate_symmetry:
        np.testing.assert_allclose(found[0, mixer.stored_states :], expected.conj(), rtol=1e-11)
    np.testing.assert_allclose(recurrence.generator[0, : mixer.stored_states], generator)


@pytest.mark.parametrize("clipped", [True, False])
def test_clipping_decides_whether_a_state_may_grow(clipped):
    mixer = S5(1, 2, "zoh", conjugate_symmetry=True, clipped=clipped)
    p = random_parameters(mixer, 0) | {"Lambda_re": torch.tensor([0.2, -1.0])}
    radius = float(mixer.from_weights(p).eigenvalues().spectral_radius)
    assert (radius < 1) == clipped


def test_two_directions_share_their_spectrum():
    mixer = S5(3, 2, "zoh", conjugate_symmetry=True, clipped=False, bidirectional=True)
    assert set(mixer.weights_roles) == {"Lambda_re", "Lambda_im", "log_step"}
    recurrence = mixer.from_weights(random_parameters(mixer, 0))
    assert recurrence.eigenvalues().log_modulus.shape == (1, 4)
    assert (recurrence.input_map, recurrence.output_map) == (None, None)
