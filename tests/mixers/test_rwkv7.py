"""RWKV-7: the recurrence against the published one, and against the sum over all pairs."""

from __future__ import annotations

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from spectrakit.mixers import RWKV7
from tests.mixers.test_mamba import assert_within


def published(receptance, key, value, log_decay, removal, rate):
    """S_t = S_{t-1} (diag(w) - c (a c)^T) + v k^T and y_t = S_t r, as the paper has it.

    S (B, H, P, N) is the transpose of the state here.
    """
    state = torch.zeros_like(value[:, 0].unsqueeze(-1) * key[:, 0].unsqueeze(-2))
    outputs = []
    for t in range(key.shape[1]):
        transition = torch.diag_embed(log_decay[:, t].exp()) - torch.einsum(
            "bhi,bhj->bhij", removal[:, t], rate[:, t] * removal[:, t]
        )
        state = state @ transition + torch.einsum("bhp,bhn->bhpn", value[:, t], key[:, t])
        outputs.append(torch.einsum("bhpn,bhn->bhp", state, receptance[:, t]))
    return torch.stack(outputs, 1)


def all_pairs(receptance, key, value, log_decay, removal, rate):
    """y_t = sum_s (r_t^T A_t ... A_{s+1} k_s) v_s, with the products multiplied out."""
    matrix = torch.diag_embed(log_decay.exp()) - torch.einsum(
        "bthi,bthj->bthij", rate * removal, removal
    )
    y = torch.zeros_like(value)
    for t in range(key.shape[1]):
        row = receptance[:, t]
        for s in range(t, -1, -1):
            y[:, t] += (row * key[:, s]).sum(-1, keepdim=True) * value[:, s]
            row = torch.einsum("bhi,bhij->bhj", row, matrix[:, s])
    return y


@given(
    heads=st.integers(1, 3),
    state_size=st.integers(1, 5),
    head_width=st.integers(1, 4),
    tokens=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
def test_recurrence_is_the_published_one(heads, state_size, head_width, tokens, seed):
    torch.manual_seed(seed)
    shape = (2, tokens, heads, state_size)
    receptance, key, raw, removal, rate = torch.randn(5, *shape, dtype=torch.float64)
    removal, rate = functional.normalize(removal, dim=-1), rate.sigmoid()
    value = torch.randn(2, tokens, heads, head_width, dtype=torch.float64)
    mixer = RWKV7(heads, state_size, head_width)
    log_decay = mixer.log_decay(raw)
    recurrence = mixer.observed(receptance, key, log_decay, removal, rate)
    for form in (published, all_pairs):
        expected = form(receptance, key, value, log_decay, removal, rate)
        assert_within(recurrence.run(value), expected, 1e-11)
    interlaced(recurrence.eigenvalues(), log_decay)


def interlaced(eigenvalues, log_decay):
    """Real, at most the fastest decay below them all, the others between the decays."""
    values, decays = eigenvalues.values, log_decay.exp().sort(-1).values
    assert not values.is_complex() or not bool(values.imag.abs().max() > 1e-12)
    values = (values.real if values.is_complex() else values).sort(-1).values
    assert bool((values <= decays + 1e-12).all())
    assert bool((values[..., 1:] >= decays[..., :-1] - 1e-12).all())
    # |s|^2 = sum_i a_i c_i^2 < 1, and no decay is below exp(-e^-1/2).
    assert bool((values >= torch.exp(-torch.exp(torch.tensor(-0.5).double())) - 1).all())


def test_nominal_eigenvalues_are_the_closed_form():
    torch.manual_seed(0)
    bias = 6 * torch.randn(1, 1, 8)
    mixer = RWKV7(2, 4, head_width=3)
    recurrence = mixer.from_weights({"decay_bias": bias})
    assert recurrence.mode == "nominal"
    found = recurrence.eigenvalues()
    assert found.multiplicity == 3
    with mpmath.workdps(40):
        exact = [mpmath.exp(-0.5) / (1 + mpmath.exp(-raw)) for raw in bias.flatten().tolist()]
        # log w = -exp(-softplus(-x) - 1/2), as the official code computes it.
        official = [
            mpmath.exp(-mpmath.log1p(mpmath.exp(-x)) - 0.5) for x in bias.flatten().tolist()
        ]
    expected = torch.tensor([float(rate) for rate in exact], dtype=torch.float64).view(2, 4)
    assert expected.flatten().tolist() == pytest.approx([float(rate) for rate in official])
    torch.testing.assert_close(
        found.decay_rate.sort(-1).values, expected.sort(-1).values, rtol=1e-13, atol=0
    )
