"""Every column of `spectrum_summary` is exact, or right to the bound that stands beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.analyses.spectrum.sketch import DecaySketch
from spectrakit.analyses.spectrum.summary import summarise_continuous, summarise_exactly
from spectrakit.dynamics import (
    ContinuousEigenvalues,
    DiagonalDecay,
    DiscreteEigenvalues,
    ScalarDecay,
    SeparableDecay,
)
from spectrakit.tables import SPECTRUM_SUMMARY
from spectrakit.tables.schemas import (
    MODULUS_SHARES,
    PHASE_EDGES,
    PHASE_SHARES,
    QUANTILES,
    RADIUS_EDGES,
    bound_name,
    quantile_names,
)
from tests.analyses.test_spectrum import analysed, recurrence

#: Of float64 sums and logarithms, for what is called exact.
ROUNDING = 1e-11


def holds(summary, rates, degrees):
    """Check a discrete row against all rates and |phases| it is of; return the columns checked."""
    moduli = np.exp(-rates)
    checked = {"count", "spectral_radius", "mean_modulus", "stable", "relative_error"}
    checked |= {f"{name}_bound" for name in ("spectral_radius", "mean_modulus")}
    assert summary["count"] == len(rates)
    for name, value in (("spectral_radius", moduli.max()), ("mean_modulus", moduli.mean())):
        off = abs(summary[name] - value)
        assert off <= summary[bound_name(name)] + ROUNDING * value, name
    if summary["stable"] is not None:
        assert summary["stable"] == (moduli.max() < 1)
    error = summary["relative_error"]
    with np.errstate(divide="ignore"):
        timescales = np.where(rates > 0, 1 / rates, math.inf)
    for stem, values in (("decay_rate", rates), ("timescale", timescales), ("modulus", moduli)):
        for name, q in zip(quantile_names(stem), QUANTILES, strict=True):
            exact = np.quantile(values, q, method="inverted_cdf")
            checked.add(name)
            if summary[name] == exact:  # infinities among them
                continue
            # Of the rate that is reported, but of the timescale that is true.
            reach = error * (exact if stem == "timescale" else abs(summary[name]))
            if stem == "modulus":
                # Rates below float64's logarithm of a modulus are not told from zero.
                log_modulus = abs(math.log(max(summary[name], 1e-300)))
                reach = summary[name] * math.expm1(min(error * log_modulus, 700))
            off = abs(summary[name] - exact)
            assert off <= reach * (1 + 1e-4) + ROUNDING * abs(exact), name
    for names, edges, of in (
        (MODULUS_SHARES, RADIUS_EDGES, moduli),
        (PHASE_SHARES, PHASE_EDGES, degrees),
    ):
        for name, low, high in zip(names, edges, edges[1:], strict=False):
            share = np.mean((of > low) & (of <= high) | (of == 0) & (low == 0))
            assert abs(summary[name] - share) <= summary[bound_name(name)] + 1e-12, name
            checked |= {name, bound_name(name)}
    return checked


def adversarial(generator, shape):
    """log|lambda| from 1e-30 to 1e30, with clusters at the edges of bins, ones and zeros."""
    spread = generator.uniform(-70, 70, shape)
    near = np.log(generator.choice(RADIUS_EDGES[1:-1], shape)) * generator.choice(
        [1 + 1e-5, 1 - 1e-5, 1.004], shape
    )
    slow = -(10.0 ** generator.uniform(-12, 1, shape))
    special = generator.choice([0.0, -math.inf, 69.0, -1e-9], shape)
    kind = generator.choice(4, shape, p=[0.4, 0.2, 0.3, 0.1])
    return torch.from_numpy(np.choose(kind, [spread, near, slow, special]))


def phases(generator, shape):
    degrees = generator.choice([0.0, 0.5, 7.0, 44.0, 46.0, -100.0, 180.0], shape)
    return torch.from_numpy(np.radians(degrees))


def counted(valid):
    """The valid tokens that a valid one precedes: A of a sequence's first acts on nothing."""
    return valid & torch.cat([torch.zeros_like(valid[:, :1]), valid[:, :-1]], dim=1)


seeds = st.integers(0, 2**16)


@given(seed=seeds, tokens=st.integers(2, 40), scale=st.sampled_from([1.0, 0.1, 0.01]))
def test_of_observed_eigenvalues(seed, tokens, scale):
    """Complex ones of a layer of channels, and real ones of a layer of heads, several batches."""
    generator = np.random.default_rng(seed)
    log_modulus = scale * adversarial(generator, (2, tokens, 3, 2))
    angle = phases(generator, log_modulus.shape)
    valid = torch.from_numpy(generator.random((2, tokens)) < 0.8)
    valid[0, :2] = True
    which = counted(valid)
    complex_ = recurrence(DiagonalDecay(log_modulus, angle), "data")
    (row,) = analysed((0, complex_, valid))["spectrum_summary"]
    rates = 0 - log_modulus[which].flatten().numpy()
    degrees = np.abs(np.degrees(angle[which].flatten().numpy()))
    holds(row, rates, degrees)
    scalar = recurrence(ScalarDecay(log_modulus[..., 0], 5), "data", head_axis="head")
    halves = [(0, scalar, valid), (0, scalar, valid)]
    for row in analysed(*halves)["spectrum_summary"]:
        head = slice(None) if row["head"] is None else slice(row["head"], row["head"] + 1)
        rates = 0 - log_modulus[..., head, 0][which].flatten().numpy().repeat(10)
        holds(row, rates, np.zeros(len(rates)))
        assert row["mean_modulus_bound"] == row["spectral_radius_bound"] == 0


@given(seed=seeds, tokens=st.integers(2, 60))
def test_of_products_that_are_not_multiplied_out(seed, tokens):
    generator = np.random.default_rng(seed)
    step = torch.from_numpy(10 ** generator.uniform(-6, 3, (1, tokens, 4)))
    step[generator.random(step.shape) < 0.02] = 0
    rate = torch.from_numpy(10 ** generator.uniform(-3, 2, (4, 3)))
    valid = torch.ones(1, tokens, dtype=torch.bool)
    data = recurrence(SeparableDecay(step, rate), "data")
    (row,) = analysed((0, data, valid))["spectrum_summary"]
    rates = (step.unsqueeze(-1) * rate)[counted(valid)].flatten().numpy()
    holds(row, rates, np.zeros(len(rates)))
    assert row["mean_modulus_bound"] < 0.004


@given(seed=seeds, share=st.floats(0, 0.3))
def test_of_computed_eigenvalues_with_error_bounds(seed, share):
    """What is found is anywhere within its bound of what is true."""
    generator = np.random.default_rng(seed)
    true = torch.from_numpy(np.exp(generator.uniform(-3, 1, 30))) * torch.exp(
        1j * torch.from_numpy(generator.uniform(-3, 3, 30))
    )
    bound = torch.from_numpy(share * generator.random(30)) * true.abs()
    way = torch.exp(1j * torch.from_numpy(generator.uniform(-math.pi, math.pi, 30)))
    found = DiscreteEigenvalues.from_values(
        (true + 0.999 * bound * way).view(1, 30), error_bound=bound.view(1, 30)
    )
    row = summarise_exactly(found.times(2))
    row["stable"] = None  # of what was computed
    rates = -true.abs().log().numpy().repeat(2)
    columns = holds(row, rates, np.abs(np.degrees(true.angle().numpy())).repeat(2))
    labels = {"layer", "head", "domain", "mode", "gauge", "tokens", "sequences"}
    labels |= {"token_spread"}  # not of a set of eigenvalues: test_token_spread.py
    continuous = {"spectral_abscissa", "spectral_abscissa_bound"}
    assert columns | labels | continuous == {column.name for column in SPECTRUM_SUMMARY.columns}


@given(seed=seeds)
def test_of_computed_eigenvalues_in_continuous_time(seed):
    generator = np.random.default_rng(seed)
    true = torch.from_numpy(-np.exp(generator.uniform(-3, 3, (1, 40)))).to(torch.complex128)
    bound = torch.from_numpy(0.2 * generator.random((1, 40))) * true.abs()
    found = true + bound * torch.from_numpy(generator.uniform(-0.99, 0.99, (1, 40)))
    row = summarise_continuous(ContinuousEigenvalues(found, 1, bound))
    rates = -true.real.flatten().numpy()
    assert abs(row["spectral_abscissa"] + rates.min()) <= row["spectral_abscissa_bound"]
    for name, q in zip(quantile_names("decay_rate"), QUANTILES, strict=True):
        exact = np.quantile(rates, q, method="inverted_cdf")
        assert abs(row[name] - exact) <= row["relative_error"] * row[name] * (1 + 1e-9)
    exact = summarise_continuous(replace(ContinuousEigenvalues(true), error_bound=None))
    assert (exact["spectral_abscissa_bound"], exact["relative_error"]) == (0, 0)


def test_a_mean_of_huge_moduli_is_exact_in_any_order():
    """1e11 is told by its bin to a quarter."""
    rates = -torch.tensor([11.0, 11, 10, 0, -30]).double() * math.log(10)
    parts = []
    for order in (range(5), reversed(range(5))):
        sketch = DecaySketch()
        for index in order:
            other = DecaySketch()
            other.add(rates[index].view(1, 1), multiplicity=3)
            sketch.merge(other)
        parts.append(sketch.with_total().moduli.mean(np.array([15, 15])))
    for mean, bound in parts:
        assert mean == pytest.approx([(2e11 + 1e10 + 1) / 5] * 2, rel=1e-13)
        assert bound.tolist() == [0, 0]
