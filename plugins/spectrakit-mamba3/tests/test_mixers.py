"""The layers' recurrences against their quadratic form, at any sizes, and their closed forms."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectrakit_mamba3.examples import HEAVY_TAIL, MIMO, SOFTPLUS, parameters
from spectrakit_mamba3.mimo import Mamba3MIMO
from spectrakit_mamba3.mixer import Mamba3
from spectrakit_mamba3.quadratic import quadratic_form
from spectrakit_mamba3.scan import chunked_scan

from spectrakit.dynamics.kernel import kernel_rows
from spectrakit.errors import UnsupportedError

FORMS = ("heavy_tail", "softplus", "positive_floor")


@st.composite
def mixers(draw):
    groups, state_size = draw(st.integers(1, 3)), draw(st.integers(2, 9))
    several = draw(st.booleans())
    sizes = {
        "model_width": draw(st.integers(1, 6)),
        "heads": groups * draw(st.integers(1, 3)),
        "head_width": draw(st.integers(1, 5)),
        "state_size": 2 * state_size if several else state_size,
        "pairs": draw(st.integers(1, state_size // 2)),
        "a_form": draw(st.sampled_from(FORMS)),
        "a_floor": draw(st.sampled_from([1e-4, 0.3])),
        "groups": groups,
        "projection_bias": draw(st.booleans()),
    }
    if several:
        return Mamba3MIMO(**sizes, rank=draw(st.integers(1, 4)))
    return Mamba3(**sizes, output_norm=draw(st.booleans()))


def on_random_input(mixer, tokens, seed=0):
    """The layer on random tokens in float64: its input, its parameters, and what is seen of it."""
    torch.manual_seed(seed)
    hidden = torch.randn(2, tokens, mixer.model_width, dtype=torch.float64)
    p = parameters(mixer, seed)
    return hidden, p, mixer.from_input(hidden, p)


@settings(max_examples=60, deadline=None)
@given(mixer=mixers(), tokens=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_the_recurrence_is_the_quadratic_form(mixer, tokens, seed):
    hidden, p, seen = on_random_input(mixer, tokens, seed)
    expected = quadratic_form(mixer, hidden, p)
    found = seen.output()
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max().clamp(min=1)


@settings(max_examples=20, deadline=None)
@given(tokens=st.sampled_from([1, 63, 64, 65, 130]), mixer=st.sampled_from([HEAVY_TAIL, SOFTPLUS]))
def test_the_scan_is_the_recurrence(tokens, mixer):
    _, _, seen = on_random_input(mixer, tokens)
    recurrence, u = seen.recurrence, seen.inputs
    write, read = recurrence.input_map, recurrence.output_map
    driven = u * write.gain.unsqueeze(-1)
    y = chunked_scan(recurrence.operator, write.key, read.query, driven)
    torch.testing.assert_close(y + recurrence.feedthrough * u, recurrence.run(u))


@pytest.mark.parametrize("mixer", [HEAVY_TAIL, SOFTPLUS, MIMO])
def test_eigenvalues_are_decays_and_angles_of_the_projections(mixer):
    hidden, p, seen = on_random_input(mixer, 9)
    projected = hidden @ p["input_projection"].T + p.get("input_projection_bias", 0)
    _, _, _, _, s, a, _, w = projected.split(mixer.projected, -1)
    step = torch.log1p((s + p["step_bias"]).exp())
    rate = torch.log1p(a.exp()) if mixer is SOFTPLUS else torch.where(a < 0, 1 / (1 - a), 1 + a)
    alpha = (-step * rate.clamp(min=mixer.a_floor)).exp()
    turn = torch.exp(1j * math.pi * w.tanh()[:, :, None] * step[..., None])
    found = seen.recurrence.eigenvalues()
    assert found.multiplicities[0] == mixer.head_width
    torch.testing.assert_close(found.values[..., : 2 * mixer.pairs : 2], alpha[..., None] * turn)


@pytest.mark.parametrize("a_form", FORMS)
def test_nominal_eigenvalues_are_the_closed_form(a_form):
    mixer = Mamba3(2, heads=5, head_width=3, state_size=6, pairs=1, a_form=a_form, a_floor=0.02)
    p = parameters(mixer)
    found = mixer.from_weights({"step_bias": p["step_bias"]}).eigenvalues()
    assert found.phase is None
    assert found.multiplicities == (6 * 3,)
    with mpmath.workdps(40):
        a = {"heavy_tail": -1, "softplus": -mpmath.log(2), "positive_floor": 0.02}[a_form]
        for h in range(5):
            exact = a * mpmath.log1p(mpmath.exp(float(p["step_bias"][h])))
            assert float(found.log_modulus[h, 0]) == pytest.approx(float(exact), rel=1e-12)


def test_nominal_with_a_bias_is_the_layer_on_zeros():
    p = parameters(SOFTPLUS)
    found = SOFTPLUS.from_weights({role: p[role] for role in SOFTPLUS.weights_roles})
    zeros = torch.zeros(1, 1, SOFTPLUS.model_width, dtype=torch.float64)
    expected = SOFTPLUS.from_input(zeros, p).recurrence
    torch.testing.assert_close(found.eigenvalues().values, expected.eigenvalues().values[0, 0])
    assert found.eigenvalues().phase.abs().min() > 0  # it turns, by its bias


def test_the_kernel_and_the_feedthrough_are_the_whole_map():
    """y_t = sum_s k(t, s) u_s + D_t u_t, with the trapezoid's two entries of every input."""
    _, _, seen = on_random_input(HEAVY_TAIL, 8)
    kernel = kernel_rows(seen.recurrence, range(8))  # (B, t, H, s)
    y = torch.einsum("bths,bshp->bthp", kernel, seen.inputs)
    y = y + seen.recurrence.feedthrough * seen.inputs
    torch.testing.assert_close(y, seen.recurrence.run(seen.inputs))


def test_a_head_of_several_ranks_has_no_one_b_and_c():
    recurrence = on_random_input(MIMO, 8)[2].recurrence
    with pytest.raises(UnsupportedError, match="has a C of its own"):
        kernel_rows(recurrence, [7])
    with pytest.raises(UnsupportedError, match="has a B of its own"):
        recurrence.input_map.matrix(MIMO.heads)


@pytest.mark.parametrize("mixer", [HEAVY_TAIL, SOFTPLUS, MIMO])
def test_in_half_precision_the_transition_is_in_single(mixer):
    p = {role: value.bfloat16() for role, value in parameters(mixer).items()}
    hidden = torch.randn(2, 9, mixer.model_width).bfloat16()
    seen = mixer.from_input(hidden, p)
    assert seen.recurrence.operator.log_decay.dtype == torch.float32
    assert seen.output().dtype == torch.bfloat16
