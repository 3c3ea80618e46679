"""The WY form of a diagonal less rank one: values and gradients of the recurrence itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from spectrakit.dynamics import Contraction, OuterProduct, Recurrence
from spectrakit.dynamics.diagonal_plus_rank_one import DiagonalPlusRankOne
from spectrakit.scans.parallel import parallel_form
from spectrakit.scans.rank_one import chunked_rank_one
from tests.scans.test_parallel import Leaves, close, gradients


def kimi(leaves, sizes, log_decay=None):
    B, T, H, N, P = sizes
    key = functional.normalize(leaves("key", B, T, H, N), dim=-1)
    beta = leaves("beta", B, T, H, low=0)
    if log_decay is None:
        log_decay = leaves("log_decay", B, T, H, N, low=-3, scale=3)
    return Recurrence(
        DiagonalPlusRankOne.decay_then_erase(log_decay, beta, key), "data", "unnormalised",
        "head", P,
        input_map=OuterProduct(key, gain=beta),
        output_map=Contraction(leaves("query", B, T, H, N)),
        feedthrough=leaves("D", H),
    ), leaves("u", B, T, H, P)  # fmt: skip


def rwkv(leaves, sizes):
    B, T, H, N, P = sizes
    removal = functional.normalize(leaves("removal", B, T, H, N), dim=-1)
    left = leaves("rate", B, T, H, N, low=0) * removal
    decay = leaves("log_decay", B, T, H, N, low=-0.6, scale=0.6)
    return Recurrence(
        DiagonalPlusRankOne(decay, left, removal), "data", "unnormalised", "head", P,
        input_map=OuterProduct(leaves("key", B, T, 1, N)),
        output_map=Contraction(leaves("query", B, T, 1, N)),
    ), leaves("u", B, T, H, P)  # fmt: skip


SIZES = st.tuples(
    st.integers(1, 2), st.integers(1, 70), st.integers(1, 3), st.integers(1, 5), st.integers(1, 3)
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("form", [kimi, rwkv])
@settings(max_examples=12, deadline=None)
@given(sizes=SIZES)
def test_it_is_the_recurrence_token_by_token(form, dtype, sizes):
    exact, leaves = Leaves(torch.float64), Leaves(dtype)
    recurrence, u = form(exact, sizes)
    wanted = {"y": recurrence.run(u)}
    wanted |= gradients(exact, wanted["y"])
    recurrence, u = form(leaves, sizes)
    # parallel_form would give `run` itself where it knew nothing faster.
    found = {"y": parallel_form(recurrence, u)}
    assert found["y"].dtype == dtype
    found |= gradients(leaves, found["y"])
    for name, value in wanted.items():
        close(found[name], value, dtype)


def test_parallel_form_takes_it(monkeypatch):
    recurrence, u = kimi(Leaves(torch.float64), (1, 20, 2, 3, 2))
    monkeypatch.setattr(Recurrence, "run", None)
    assert parallel_form(recurrence, u).shape == u.shape


def test_it_passes_gradcheck():
    leaves = Leaves(torch.float64)
    drawn = [leaves(name, 1, 5, 1, 2, scale=0.5) for name in "glrkq"]
    drawn.append(leaves("u", 1, 5, 1, 2))
    assert torch.autograd.gradcheck(lambda *x: chunked_rank_one(*x, chunk=2), drawn)


@pytest.mark.parametrize("strong", [-60.0, -1e4, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_one_strong_decay_leaves_the_digits_of_the_weak_ones_after_it(dtype, strong):
    sizes = (1, 40, 2, 4, 3)

    def decays(leaves):
        weak = leaves("log_decay", *sizes[:4], low=-0.01, scale=0.01)
        at = torch.zeros(sizes[:4], dtype=torch.bool)
        at[:, 3::7, :, :2] = True  # of some states only
        return weak.masked_fill(at, strong)

    exact, leaves = Leaves(torch.float64), Leaves(dtype)
    recurrence, u = kimi(exact, sizes, decays(exact))
    wanted = {"y": recurrence.run(u)}
    wanted |= gradients(exact, wanted["y"])
    recurrence, u = kimi(leaves, sizes, decays(leaves))
    found = {"y": parallel_form(recurrence, u)}
    found |= gradients(leaves, found["y"])
    for name, value in wanted.items():
        assert found[name].isfinite().all()
        close(found[name], value, dtype)
