"""Mamba-2: the recurrence against transformers' own mixer, and against its quadratic form."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import Mamba2
from tests.mixers.test_mamba import assert_within, transformers_mixer


@st.composite
def configurations(draw):
    groups = draw(st.integers(1, 3))
    return Mamba2(
        model_width=draw(st.integers(1, 6)),
        heads=groups * draw(st.integers(1, 3)),
        head_width=draw(st.integers(1, 4)),
        state_size=draw(st.integers(1, 5)),
        groups=groups,
        convolution_width=draw(st.integers(1, 4)),
        step_limit=draw(st.sampled_from([(0.0, math.inf), (0.01, 0.2), (0.0, 0.05), (0.1, 1.0)])),
        norm_epsilon=draw(st.sampled_from([1e-5, 1e-2])),
        projection_bias=draw(st.booleans()),
        convolution_bias=draw(st.booleans()),
    )


def random_parameters(mixer, seed, dtype=torch.float64):
    torch.manual_seed(seed)
    p = {
        role: torch.randn(shape, dtype=dtype) / math.sqrt(shape[-1])
        for role, shape in mixer.shapes().items()
    }
    p["A_log"] = torch.rand(mixer.heads, dtype=dtype) * 2.8
    p["step_bias"] = torch.randn(mixer.heads, dtype=dtype) * 2 - 2
    return p


def quadratic_form(mixer, hidden, p, fixed=None):
    """The layer as masked attention: y_t = sum_s L_ts (c_t . b_s) Delta_s u_s (SSD, section 3).

    fixed: log-decays (H,) of every token; None for those of the step.
    """
    tokens, inner, keys = hidden.shape[1], mixer.channels, mixer.groups * mixer.state_size
    projected = hidden @ p["input_projection"].T + p.get("input_projection_bias", 0)
    z, x = projected[..., :inner], projected[..., inner : 2 * inner + 2 * keys]
    raw = projected[..., 2 * inner + 2 * keys :]
    width = mixer.convolution_width
    u = torch.zeros_like(x) + p.get("convolution_bias", 0)
    for lag in range(min(width, tokens)):
        u[:, lag:] += x[:, : tokens - lag] * p["convolution"][:, 0, width - 1 - lag]
    u = u * torch.sigmoid(u)
    per_group = mixer.heads // mixer.groups
    b = u[..., inner : inner + keys].reshape(*u.shape[:2], mixer.groups, -1)
    c = u[..., inner + keys :].reshape(*u.shape[:2], mixer.groups, -1)
    u = u[..., :inner].reshape(*u.shape[:2], mixer.heads, mixer.head_width)
    step = torch.logaddexp(raw + p["step_bias"], torch.zeros_like(raw))
    step = step.clamp(*mixer.step_limit)
    decay = -step * p["A_log"].exp() if fixed is None else fixed.expand_as(step)
    log_decay = decay.cumsum(1)  # (B, T, H)
    between = log_decay[:, :, None] - log_decay[:, None, :]
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()[None, :, :, None]
    decay = torch.where(mask, between, -math.inf).exp()  # (B, t, s, H)
    scores = torch.einsum("btgn,bsgn->btsg", c, b).repeat_interleave(per_group, -1)
    y = torch.einsum("btsh,bsh,bshp->bthp", scores * decay, step, u)
    y = (y + p["D"][:, None] * u).flatten(-2) * z * torch.sigmoid(z)
    y = y.reshape(*y.shape[:2], mixer.groups, -1)
    y = y / torch.sqrt((y**2).mean(-1, keepdim=True) + mixer.norm_epsilon)
    y = y.flatten(-2) * p["norm"]
    return y @ p["output_projection"].T + p.get("output_projection_bias", 0)


@given(mixer=configurations(), tokens=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_recurrence_is_the_quadratic_form(mixer, tokens, seed):
    p = random_parameters(mixer, seed)
    hidden = torch.randn(2, tokens, mixer.model_width, dtype=torch.float64)
    found = mixer.from_input(hidden, p).output()
    assert_within(found, quadratic_form(mixer, hidden, p), 1e-10)


@given(
    groups=st.integers(1, 2),
    per_group=st.integers(1, 3),
    head_dim=st.sampled_from([2, 4]),
    state_size=st.integers(1, 6),
    limit=st.sampled_from([(0.0, math.inf), (0.01, 0.1)]),
    chunk_size=st.sampled_from([2, 4, 16]),
    use_bias=st.booleans(),
    tokens=st.integers(2, 20),
    seed=st.integers(0, 2**16),
)
def test_recurrence_is_the_transformers_mixer(
    groups, per_group, head_dim, state_size, limit, chunk_size, use_bias, tokens, seed
):
    from spectrakit.architectures.transformers_mamba import MAMBA2_NAMES

    torch.manual_seed(seed)
    heads = groups * per_group
    hidden_size = heads * head_dim // 2
    module = transformers_mixer(
        "mamba2",
        vocab_size=8,
        hidden_size=hidden_size,
        num_heads=heads,
        head_dim=head_dim,
        n_groups=groups,
        state_size=state_size,
        time_step_limit=limit,
        chunk_size=chunk_size,
        use_bias=use_bias,
        num_hidden_layers=1,
    )
    mixer = Mamba2(
        model_width=hidden_size,
        heads=heads,
        head_width=head_dim,
        state_size=state_size,
        groups=groups,
        step_limit=limit,
        projection_bias=use_bias,
    )
    parameters = dict(module.named_parameters())
    p = {role: parameters[MAMBA2_NAMES[role]].detach() for role in mixer.shapes()}
    hidden = torch.randn(2, tokens, hidden_size)
    with torch.no_grad():
        expected = module(hidden)
        found = mixer.from_input(hidden, p).output()
    assert_within(found, expected, 1e-5)


@pytest.mark.parametrize("limit", [(0.0, math.inf), (0.05, 0.5)])
def test_nominal_eigenvalues_are_the_closed_form(limit):
    mixer = Mamba2(model_width=2, heads=5, head_width=3, state_size=4, step_limit=limit)
    p = random_parameters(mixer, 0, torch.float32)
    eigenvalues = mixer.from_weights(p).eigenvalues()
    assert eigenvalues.multiplicity == 4 * 3  # every state of every column of a head
    with mpmath.workdps(40):
        for h in range(5):
            step = mpmath.log1p(mpmath.exp(float(p["step_bias"][h])))
            step = min(max(step, limit[0]), limit[1])
            exact = mpmath.exp(-step * mpmath.exp(float(p["A_log"][h])))
            assert float(eigenvalues.values[h, 0].real) == pytest.approx(float(exact), rel=1e-12)


def test_continuous_eigenvalues_count_the_whole_state():
    mixer = Mamba2(model_width=2, heads=5, head_width=3, state_size=4)
    p = random_parameters(mixer, 0)
    continuous = mixer.from_weights(p).continuous_eigenvalues()
    assert continuous.multiplicity == 12
    torch.testing.assert_close(continuous.values[:, 0], -p["A_log"].double().exp())
