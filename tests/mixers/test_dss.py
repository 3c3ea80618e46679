"""DSS: the recurrence against the kernel of each version."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import DSS
from tests.mixers.test_mamba import assert_within
from tests.support.convolution import as_complex, convolved

VERSIONS = ("softmax", "clip", "clip-no-scale", "exp", "exp-no-scale", "exp-re-im")


def sized(version, **options):
    largest = 1e-4 if version.startswith("clip") else None
    return st.builds(
        DSS,
        st.integers(1, 3),
        st.integers(1, 4),
        st.just(version),
        feedthroughs=st.integers(0, 1),
        separate_steps=st.booleans(),
        largest_real=st.just(largest),
        **options,
    )


def random_parameters(mixer, seed):
    torch.manual_seed(seed)
    p = {role: torch.randn(shape) for role, shape in mixer.shapes().items()}
    p["log_dt"] = torch.rand_like(p["log_dt"]) * 3 - 4
    if "Lambda" in p:
        p["Lambda"] = p["Lambda"] * torch.tensor([1.0, 5.0])  # some states grow
    return p


def generator_and_scaled(mixer, p):
    values = {role: value.double().numpy() for role, value in p.items()}
    if "Lambda" in p:
        real, imaginary = values["Lambda"].T
        real = np.minimum(real, 1e-4) if mixer.version.startswith("clip") else real
    else:
        real = -np.exp(values["Lambda_log_neg_re"])
        log_imaginary = values.get("Lambda_log_im")
        imaginary = values["Lambda_im"] if log_imaginary is None else np.exp(log_imaginary)
    step = np.exp(values["log_dt"]).reshape(mixer.channels, -1)
    scaled = step[:, :1] * real + 1j * step[:, -1:] * imaginary
    return real + 1j * imaginary, scaled


def kernel_of(mixer, p, tokens):
    """Re sum_n W_n Lambda_bar_n^lag, for every version but softmax: (H, tokens)."""
    generator, scaled = generator_and_scaled(mixer, p)
    weight = as_complex(p["W"])[0]
    if not mixer.version.endswith("no-scale"):
        weight = weight * (np.exp(scaled) - 1) / generator
    powers = np.exp(scaled[..., None] * np.arange(tokens))
    return np.einsum("hn,hnl->hl", weight, powers).real


def run_and_expect(mixer, p, kernel, tolerance):
    recurrence = mixer.from_weights(p)
    inputs = torch.randn(2, kernel.shape[1], mixer.channels, 1, dtype=torch.float64)
    expected = convolved(kernel, inputs)
    if mixer.feedthroughs:
        expected += p["D"].double().T * inputs
    assert_within(recurrence.run(inputs), expected, tolerance)


@pytest.mark.parametrize("version", VERSIONS[1:])
@given(data=st.data(), tokens=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_recurrence_is_the_convolution(version, data, tokens, seed):
    mixer = data.draw(sized(version))
    p = random_parameters(mixer, seed)
    run_and_expect(mixer, p, kernel_of(mixer, p, tokens), 1e-10)


@given(mixer=sized("softmax", kernel_length=st.integers(1, 9)), seed=st.integers(0, 2**16))
def test_softmax_is_the_convolution_over_its_length(mixer, seed):
    length = mixer.kernel_length
    p = random_parameters(mixer, seed)
    generator, scaled = generator_and_scaled(mixer, p)
    logits = scaled[..., None] * np.arange(length)
    # Normalised over the kernel; the guard of the division is the reference code's own.
    sign = np.where(generator.real > 0, -1, 1)
    total = (np.exp(sign * scaled * length) - 1) * generator
    guard = np.abs(total) ** 2 / (np.abs(total) ** 2 + 1e-7)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    weight = as_complex(p["W"])[0] / generator * guard
    run_and_expect(mixer, p, np.einsum("hn,hnl->hl", weight, softmax).real, 1e-9)


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data(), seed=st.integers(0, 2**16))
def test_eigenvalues_are_the_exponentials_as_stored(version, data, seed):
    mixer = data.draw(sized(version))
    p = random_parameters(mixer, seed)
    generator, scaled = generator_and_scaled(mixer, p)
    recurrence = mixer.from_weights(p)
    np.testing.assert_allclose(recurrence.eigenvalues().values, np.exp(scaled), rtol=1e-12)
    found = recurrence.continuous_eigenvalues().values
    np.testing.assert_allclose(found, np.broadcast_to(generator, found.shape), rtol=1e-12)
    assert (recurrence.step is None) == mixer.separate_steps


def test_what_cannot_be_run_still_has_its_spectrum():
    for mixer in (DSS(2, 3, "softmax"), DSS(2, 3, "exp", outputs=2, feedthroughs=2)):
        recurrence = mixer.from_weights(random_parameters(mixer, 0))
        assert recurrence.eigenvalues().log_modulus.shape == (2, 3)
        assert (recurrence.input_map, recurrence.output_map) == (None, None)
