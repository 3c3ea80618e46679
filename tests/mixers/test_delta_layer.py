"""Layers of the delta rule: against A_t multiplied out, and what a key's value becomes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.errors import UnsupportedError
from spectrakit.mixers.delta_layer import DeltaNet, GatedDeltaLayer, KimiDeltaLayer
from tests.mixers.test_mamba import assert_within


def random_parameters(mixer, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        role: torch.randn(shape, generator=generator, dtype=torch.float64)
        for role, shape in mixer.shapes().items()
    }


def products(mixer, hidden, p):
    """y_t = q_t^T sum_s A_t ... A_{s+1} beta_s k_s u_s^T, with every A_t as a matrix."""
    B, T, _ = hidden.shape
    H, N = mixer.heads, mixer.state_size

    def heads(role):
        return (hidden @ p[f"{role}_projection"].T).reshape(B, T, H, -1)

    def unit(x):
        x = x * torch.sigmoid(x)
        return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()

    q, k, u = unit(heads("query")), unit(heads("key")), heads("value")
    beta = torch.sigmoid(heads("beta"))[..., 0] * (2 if mixer.negative else 1)
    decay = torch.ones_like(beta)[..., None]  # of every state, or of a head
    if "decay_projection" in p:
        raised = heads("decay")[..., 0] + p["step_bias"]
        decay = torch.exp(-p["A_log"].exp() * torch.log1p(raised.exp()))[..., None]
    elif "A_log" in p:
        raised = hidden @ (p["decay_up_projection"] @ p["decay_down_projection"]).T
        raised = (raised + p["step_bias"]).reshape(B, T, H, N)
        decay = torch.exp(-p["A_log"].exp()[:, None] * torch.log1p(raised.exp()))
    state = torch.zeros(B, H, N, mixer.head_width, dtype=hidden.dtype)
    rows = []
    for t in range(T):
        erased = torch.eye(N) - beta[:, t, :, None, None] * k[:, t, :, :, None] * k[:, t, :, None]
        state = erased @ (decay[:, t, :, :, None] * state)
        state = state + beta[:, t, :, None, None] * k[:, t, :, :, None] * u[:, t, :, None]
        rows.append((q[:, t, :, None] @ state)[:, :, 0] / N**0.5)
    y = torch.stack(rows, 1)
    y = y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() * p["norm"]
    return y.flatten(-2) @ p["output_projection"].T


def kimi(heads, groups, **sizes):
    return KimiDeltaLayer(heads=heads, rate_shape=(heads,), decay_rank=2, **sizes)


@pytest.mark.parametrize("kind", [DeltaNet, GatedDeltaLayer, kimi])
@given(heads=st.integers(1, 3), states=st.integers(1, 4), tokens=st.integers(1, 12),
       negative=st.booleans(), seed=st.integers(0, 2**16))  # fmt: skip
def test_recurrence_is_the_products(kind, heads, states, tokens, negative, seed):
    mixer = kind(heads=heads, head_width=2, state_size=states, groups=heads, model_width=3,
                 negative=negative)  # fmt: skip
    p = random_parameters(mixer, seed)
    hidden = torch.randn(2, tokens, 3, dtype=torch.float64)
    assert_within(mixer.from_input(hidden, p).output(), products(mixer, hidden, p), 1e-9)


@pytest.mark.parametrize("negative", [False, True])
def test_eigenvalues_along_keys_are_negative_only_where_they_may_be(negative):
    mixer = DeltaNet(2, 3, 4, 2, 5, negative=negative)
    p = random_parameters(mixer, 1)
    hidden = torch.randn(1, 200, 5, dtype=torch.float64)
    found = mixer.from_input(hidden, p).recurrence.eigenvalues()
    turned = found.phase is not None and bool((found.phase > 3).any())
    assert turned == negative
    assert (found.log_modulus[..., 0] == 0).all()  # across the key nothing decays


def test_without_tokens_only_what_decays_has_a_spectrum():
    sizes = {"heads": 2, "head_width": 3, "state_size": 4, "groups": 2, "model_width": 5}
    with pytest.raises(UnsupportedError, match="no spectrum without tokens"):
        DeltaNet(**sizes).from_weights({})
    gated = GatedDeltaLayer(**sizes)
    p = random_parameters(gated, 2)
    found = gated.from_weights(p).eigenvalues().log_modulus.flatten()
    assert_within(found, -p["A_log"].exp() * torch.log1p(p["step_bias"].exp()), 1e-12)
