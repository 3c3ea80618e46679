"""Mamba: the recurrence against transformers' own mixer, and against its convolution-like form."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from spectrakit.mixers import Mamba

configurations = st.builds(
    Mamba,
    model_width=st.integers(1, 6),
    channels=st.integers(1, 8),
    state_size=st.integers(1, 6),
    step_rank=st.integers(1, 4),
    convolution_width=st.integers(1, 5),
    norm_epsilon=st.sampled_from([None, 1e-6, 1e-3]),
    projection_bias=st.booleans(),
    convolution_bias=st.booleans(),
)


def random_parameters(mixer, seed, dtype=torch.float64):
    torch.manual_seed(seed)
    p = {
        role: torch.randn(shape, dtype=dtype) / math.sqrt(shape[-1])
        for role, shape in mixer.shapes().items()
    }
    # The range that training stays in: rates of 1 to 16, steps around 1e-3 to 1.
    p["A_log"] = torch.rand(mixer.channels, mixer.state_size, dtype=dtype) * 2.8
    p["step_bias"] = torch.randn(mixer.channels, dtype=dtype) * 2 - 3
    return p


def quadratic_form(mixer, hidden, p):
    """The layer with every pair of tokens written out: y_t = sum_s (c_t . E_ts b_s) Delta_s u_s.

    E_ts = exp(-rate * (sum of the steps after s, up to t)), from cumulative sums of the steps.
    """
    projected = hidden @ p["input_projection"].T + p.get("input_projection_bias", 0)
    x, z = projected[..., : mixer.channels], projected[..., mixer.channels :]
    width, tokens = mixer.convolution_width, hidden.shape[1]
    u = torch.zeros_like(x) + p.get("convolution_bias", 0)
    for lag in range(min(width, tokens)):
        u[:, lag:] += x[:, : tokens - lag] * p["convolution"][:, 0, width - 1 - lag]
    u = u * torch.sigmoid(u)
    selected = u @ p["selection_projection"].T
    s = selected[..., : mixer.step_rank]
    b = selected[..., mixer.step_rank : mixer.step_rank + mixer.state_size]
    c = selected[..., mixer.step_rank + mixer.state_size :]
    if mixer.norm_epsilon is not None:
        s, b, c = (v / torch.sqrt((v**2).mean(-1, keepdim=True) + mixer.norm_epsilon)
                   for v in (s, b, c))  # fmt: skip
    raw = s @ p["step_projection"].T + p["step_bias"]
    step = torch.logaddexp(raw, torch.zeros_like(raw))
    elapsed = step.cumsum(1)
    between = elapsed[:, :, None] - elapsed[:, None, :]  # (B, t, s, D)
    decay = torch.exp(-between.clamp_min(0)[..., None] * p["A_log"].exp())  # (B, t, s, D, N)
    causal = torch.ones(tokens, tokens, dtype=hidden.dtype).tril()
    y = torch.einsum("btn,btsdn,bsn,bsd,ts->btd", c, decay, b, step * u, causal) + p["D"] * u
    gated = y * z * torch.sigmoid(z)
    return gated @ p["output_projection"].T + p.get("output_projection_bias", 0)


@given(mixer=configurations, tokens=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_recurrence_is_the_quadratic_form(mixer, tokens, seed):
    p = random_parameters(mixer, seed)
    hidden = torch.randn(2, tokens, mixer.model_width, dtype=torch.float64)
    observation = mixer.from_input(hidden, p)
    assert observation.recurrence.mode == "data"
    assert_within(observation.output(), quadratic_form(mixer, hidden, p), 1e-10)


@pytest.mark.parametrize("model_type", ["mamba", "falcon_mamba"])
@given(
    hidden_size=st.integers(2, 10),
    state_size=st.integers(1, 8),
    rank=st.integers(1, 3),
    kernel=st.integers(2, 4),
    use_bias=st.booleans(),
    tokens=st.integers(2, 20),
    seed=st.integers(0, 2**16),
)
def test_recurrence_is_the_transformers_mixer(
    model_type, hidden_size, state_size, rank, kernel, use_bias, tokens, seed
):
    from spectrakit.architectures.transformers_mamba import MAMBA_NAMES

    torch.manual_seed(seed)
    module = transformers_mixer(
        model_type,
        vocab_size=8,
        hidden_size=hidden_size,
        state_size=state_size,
        time_step_rank=rank,
        conv_kernel=kernel,
        use_bias=use_bias,
        num_hidden_layers=1,
    )
    mixer = Mamba(
        model_width=hidden_size,
        channels=2 * hidden_size,
        state_size=state_size,
        step_rank=rank,
        convolution_width=kernel,
        norm_epsilon=1e-6 if model_type == "falcon_mamba" else None,
        projection_bias=use_bias,
    )
    parameters = dict(module.named_parameters())
    p = {role: parameters[MAMBA_NAMES[role]].detach() for role in mixer.shapes()}
    hidden = torch.randn(2, tokens, hidden_size)
    with torch.no_grad():
        expected = module(hidden)
        found = mixer.from_input(hidden, p).output()
    assert_within(found, expected, 1e-5)


def assert_within(found, expected, tolerance):
    """`found` equals `expected` within `tolerance` of its largest entry."""
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


def transformers_mixer(model_type, **sizes):
    from transformers import AutoConfig, AutoModelForCausalLM

    from spectrakit.architectures.transformers_model import quiet_transformers

    with quiet_transformers():
        config = AutoConfig.for_model(model_type, **sizes)
        return AutoModelForCausalLM.from_config(config).eval().backbone.layers[0].mixer


def test_nominal_eigenvalues_are_the_closed_form():
    mixer = Mamba(model_width=2, channels=3, state_size=4, step_rank=1)
    p = random_parameters(mixer, 0, torch.float32)
    eigenvalues = mixer.from_weights(p).eigenvalues()
    with mpmath.workdps(40):
        for d in range(3):
            step = mpmath.log1p(mpmath.exp(float(p["step_bias"][d])))
            for n in range(4):
                exact = mpmath.exp(-step * mpmath.exp(float(p["A_log"][d, n])))
                assert float(eigenvalues.values[d, n].real) == pytest.approx(
                    float(exact), rel=1e-12
                )
    assert mixer.from_weights(p).mode == "nominal"


def test_half_precision_parameters_are_widened_before_the_exponential():
    mixer = Mamba(model_width=2, channels=1, state_size=1, step_rank=1)
    p = {"A_log": torch.tensor([[11.5]]).half(), "step_bias": torch.tensor([-12.0]).half()}
    rate = mixer.from_weights(p).generator
    assert rate.dtype == torch.float64
    assert float(rate) == pytest.approx(-98715.77, rel=1e-5)  # beyond float16's 65504
    step = float(functional.softplus(torch.tensor(-12.0)))
    found = mixer.from_weights(p).eigenvalues().decay_rate
    assert float(found) == pytest.approx(step * 98715.77, rel=1e-5)


def test_continuous_eigenvalues_are_minus_the_rates():
    mixer = Mamba(model_width=2, channels=3, state_size=4, step_rank=1)
    p = random_parameters(mixer, 0)
    continuous = mixer.from_weights(p).continuous_eigenvalues()
    torch.testing.assert_close(continuous.values, -p["A_log"].double().exp())
    assert continuous.multiplicity == 1
