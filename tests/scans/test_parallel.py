"""Parallel forms give what the recurrence gives token by token: values, and gradients of all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrakit.dynamics import (
    ConstantInput,
    ConstantOutput,
    Contraction,
    Dense,
    DiagonalDecay,
    OuterProduct,
    Recurrence,
    ScalarDecay,
    SeparableDecay,
)
from spectrakit.dynamics.delta import DeltaRule
from spectrakit.scans.diagonal import diagonal_scan
from spectrakit.scans.parallel import parallel_form
from spectrakit.scans.selective import selective_scan

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}


class Leaves:
    """Random tensors that want gradients, by name."""

    def __init__(self, dtype, seed=0):
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype
        self.all = {}

    def __call__(self, name, *shape, scale=1.0, low=None, complex_=False):
        parts = [
            torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale
            if low is None
            else low + scale * torch.rand(shape, generator=self.generator, dtype=torch.float64)
            for _ in range(2 if complex_ else 1)
        ]
        leaf = torch.complex(*parts) if complex_ else parts[0]
        wide = {torch.float32: torch.complex64, torch.float64: torch.complex128}
        leaf = leaf.to(wide[self.dtype] if complex_ else self.dtype).requires_grad_()
        self.all[name] = leaf
        return leaf


def scalar(leaves, sizes):
    B, T, H, N, P = sizes
    return Recurrence(
        ScalarDecay(leaves("log_decay", B, T, H, low=-3, scale=3), N), "data", "unnormalised",
        "head", P,
        input_map=OuterProduct(leaves("key", B, T, 1, N), leaves("gain", B, T, H, low=0)),
        output_map=Contraction(leaves("query", B, T, 1, N)),
        feedthrough=leaves("D", H),
    ), leaves("u", B, T, H, P)  # fmt: skip


def separable(leaves, sizes):
    B, T, H, N, _ = sizes
    step = leaves("step", B, T, H, low=0)
    return Recurrence(
        SeparableDecay(step, leaves("rate", H, N, low=0, scale=3)), "data", "unnormalised",
        "channel", 1,
        input_map=OuterProduct(leaves("key", B, T, H, N), step),
        output_map=Contraction(leaves("query", B, T, H, N)),
        feedthrough=leaves("D", H),
    ), leaves("u", B, T, H, 1)  # fmt: skip


def channels(leaves, sizes):
    B, T, H, N, _ = sizes
    decay = leaves("log_decay", H, N, low=-1)
    return Recurrence(
        DiagonalDecay(decay, leaves("phase", H, N)), "static", "unnormalised", "channel", 1,
        input_map=ConstantInput(leaves("B", H, N, 1, complex_=True)),
        output_map=ConstantOutput(leaves("C", H, 1, N, complex_=True)),
    ), leaves("u", B, T, H, 1)  # fmt: skip


def shared(leaves, sizes):
    B, T, _, N, P = sizes
    return Recurrence(
        DiagonalDecay(leaves("log_decay", 1, N, low=-1), leaves("phase", 1, N)), "static",
        "unnormalised", "head", 1,
        input_map=ConstantInput(leaves("B", 1, N, P, complex_=True)),
        output_map=ConstantOutput(leaves("C", 1, P, N, complex_=True)),
        feedthrough=leaves("D", 1, P),
    ), leaves("u", B, T, 1, P)  # fmt: skip


def selected(leaves, sizes):
    B, T, H, N, P = sizes
    return Recurrence(
        DiagonalDecay(leaves("log_decay", B, T, H, N, low=-3, scale=3)), "data", "unnormalised",
        "head", P,
        input_map=OuterProduct(leaves("key", B, T, 1, N), leaves("gain", B, T, H)),
        output_map=Contraction(leaves("query", B, T, 1, N)),
        feedthrough=leaves("D", H),
    ), leaves("u", B, T, H, P)  # fmt: skip


def dense(leaves, sizes):
    B, T, _, N, P = sizes
    return Recurrence(
        Dense(leaves("A", 1, N, N, scale=0.6 / N**0.5)), "static", "unnormalised", "head", 1,
        input_map=ConstantInput(leaves("B", 1, N, P)),
        output_map=ConstantOutput(leaves("C", 1, P, N)),
    ), leaves("u", B, T, 1, P)  # fmt: skip


def delta(leaves, sizes):
    B, T, H, N, P = sizes
    key = leaves("key", B, T, H, N)
    key = key / (key.square().sum(-1, keepdim=True) + 1e-3).sqrt()
    beta = leaves("beta", B, T, H, low=0, scale=2)
    return Recurrence(
        DeltaRule(leaves("log_decay", B, T, H, low=-1), beta, key), "data", "unnormalised",
        "head", P,
        input_map=OuterProduct(key, gain=beta),
        output_map=Contraction(leaves("query", B, T, 1, N)),
    ), leaves("u", B, T, H, P)  # fmt: skip


FORMS = [scalar, separable, channels, shared, selected, dense, delta]


def gradients(leaves, y):
    weight = torch.linspace(0, 30, y.numel(), dtype=y.dtype).cos().view(y.shape)
    found = torch.autograd.grad(
        (y * weight).sum(), list(leaves.all.values()), retain_graph=True, allow_unused=True
    )
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.all.items(), found, strict=True)
    }


def close(found, wanted, dtype, rounding=0.0):
    size = max(1.0, float(wanted.detach().abs().max()))
    assert float((found - wanted).detach().abs().max()) <= TOLERANCE[dtype] * size + rounding


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12, deadline=None)
@given(
    sizes=st.tuples(
        st.integers(1, 3), st.integers(1, 150), st.integers(1, 3), st.integers(1, 5),
        st.integers(1, 3),
    )
)  # fmt: skip
def test_it_is_the_recurrence_token_by_token(form, dtype, sizes):
    exact, leaves = Leaves(torch.float64), Leaves(dtype)
    recurrence, u = form(exact, sizes)
    wanted = {"y": recurrence.run(u)}
    wanted |= gradients(exact, wanted["y"])
    recurrence, u = form(leaves, sizes)
    one, other = {"y": recurrence.run(u)}, {"y": parallel_form(recurrence, u)}
    assert other["y"].dtype == dtype
    for found in (one, other):
        found |= gradients(leaves, found["y"])
    for name, value in wanted.items():
        # Sums that cancel are rounded token by token as well.
        rounding = 4 * float((one[name] - value).detach().abs().max())
        close(other[name], value, dtype, rounding)


@pytest.mark.parametrize("varying", [True, False])
@pytest.mark.parametrize("complex_", [True, False])
def test_the_diagonal_scan_passes_gradcheck(varying, complex_):
    leaves = Leaves(torch.float64)
    shape = (2, 7, 3) if varying else (3,)
    decay = leaves("a", *shape, scale=0.5, complex_=complex_)
    driven = leaves("x", 2, 7, 3, complex_=complex_)
    assert torch.autograd.gradcheck(diagonal_scan, (decay, driven))


def test_a_real_decay_of_complex_states_has_a_real_gradient():
    leaves = Leaves(torch.float64)
    decay, driven = leaves("a", 3, low=-1), leaves("x", 1, 5, 3, complex_=True)
    assert torch.autograd.gradcheck(diagonal_scan, (decay, driven))


def test_states_are_emptied_where_the_decay_is_minus_infinity():
    leaves = Leaves(torch.float64)
    recurrence, u = scalar(leaves, (2, 140, 2, 3, 2))
    starts = torch.zeros(2, 140, dtype=torch.bool)
    starts[0, 70] = starts[1, 3] = starts[:, 0] = True
    decay = recurrence.operator.log_decay.masked_fill(starts.unsqueeze(-1), -torch.inf)
    emptied = Recurrence(
        ScalarDecay(decay, 3), "data", "unnormalised", "head", 2,
        input_map=recurrence.input_map, output_map=recurrence.output_map,
    )  # fmt: skip
    close(parallel_form(emptied, u), emptied.run(u), torch.float64)
    assert all(
        grad.isfinite().all() for grad in gradients(leaves, parallel_form(emptied, u)).values()
    )


@pytest.mark.parametrize("decay", [0.0, -1e-9, -50.0, -1e4])
def test_extreme_decays_stay_numbers(decay):
    leaves = Leaves(torch.float32)
    recurrence, u = scalar(leaves, (1, 200, 2, 3, 2))
    constant = torch.full((1, 200, 2), decay, requires_grad=True)
    leaves.all["log_decay"] = constant
    extreme = Recurrence(
        ScalarDecay(constant, 3), "data", "unnormalised", "head", 2,
        input_map=recurrence.input_map, output_map=recurrence.output_map,
    )  # fmt: skip
    y = parallel_form(extreme, u)
    close(y, extreme.run(u), torch.float32)
    assert all(grad.isfinite().all() for grad in gradients(leaves, y).values())


def test_the_selective_scan_keeps_no_array_of_tokens_channels_and_states():
    leaves = Leaves(torch.float32)
    B, T, D, N = 1, 128, 32, 16
    step, u = leaves("step", B, T, D, low=0), leaves("u", B, T, D)
    rate = leaves("rate", D, N, low=0)
    key, query = leaves("key", B, T, 1, N), leaves("query", B, T, 1, N)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: (kept.append(x.numel()), x)[1], lambda x: x
    ):
        selective_scan(step, u, rate, key, query)
    assert kept
    # The states at the beginnings of blocks are the most there is.
    assert max(kept) <= T * D * N // 8


def test_autocast_leaves_the_recurrence_in_float32():
    leaves = Leaves(torch.float32)
    recurrence, u = scalar(leaves, (1, 20, 2, 3, 2))
    with torch.autocast("cpu", torch.bfloat16):
        y = parallel_form(recurrence, u)
    assert y.dtype == torch.float32
    assert torch.equal(y, parallel_form(recurrence, u))


def test_a_recurrence_without_maps_says_so():
    bare = Recurrence(ScalarDecay(torch.zeros(2), 3), "nominal", "unnormalised", "head", 2)
    with pytest.raises(ValueError, match="no input and output maps"):
        parallel_form(bare, torch.zeros(1, 2, 2, 2))
