"""The spectrum analysis against the eigenvalues it is given."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.analyses.base import Request
from spectrakit.analyses.spectrum.analysis import Spectrum
from spectrakit.analyses.spectrum.options import SpectrumOptions
from spectrakit.architectures import Layer
from spectrakit.dynamics import (
    DiagonalDecay,
    DiscreteEigenvalues,
    Recurrence,
    ScalarDecay,
    SeparableDecay,
)
from spectrakit.errors import AnalysisError
from spectrakit.mixers import Mamba, Mamba2
from spectrakit.tables import Manifest, MemorySink
from spectrakit.tables.schemas import MODULUS_SHARES, PHASE_SHARES, RADIUS_EDGES, bound_name

MANIFEST = Manifest(model_id="m", revision="r", mode="weights")


def recurrence(operator, mode="nominal", head_axis="channel", width=1, generator=None):
    return Recurrence(
        operator,
        mode=mode,
        gauge="unnormalised",
        head_axis=head_axis,
        width=width,
        generator=generator,
    )


def analysed(*seen, domain="discrete"):
    """The tables after showing (layer, recurrence, valid) triples to one analysis."""
    sink = MemorySink(MANIFEST)
    analysis = Spectrum(sink, Request(SpectrumOptions(domain)))
    for layer, rec, valid in seen:
        analysis.see(Layer(layer, f"layers.{layer}", "test"), rec, valid)
    analysis.finish()
    return {name: sink.run.table(name).to_pylist() for name in sink.run.tables}


def share_by_counting(modulus):
    return [
        float((((modulus > low) | ((low == 0) & (modulus == 0))) & (modulus <= high)).mean())
        for low, high in pairwise(RADIUS_EDGES)
    ]


def test_every_eigenvalue_of_a_channel_layer_is_a_row():
    step, rate = torch.tensor([0.1, 2.0, 0.5]), torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    rows = analysed((7, recurrence(SeparableDecay(step, rate), generator=-rate), None))["spectrum"]
    assert [(r["layer"], r["head"], r["channel"], r["state"]) for r in rows] == [
        (7, None, d, n) for d in range(3) for n in range(2)
    ]
    for row in rows:
        r = float(step[row["channel"]] * rate[row["channel"], row["state"]])
        assert row["decay_rate"] == pytest.approx(r)
        assert row["timescale_steps"] == pytest.approx(1 / r)
        assert row["re"] == row["modulus"] == pytest.approx(math.exp(-r))
        assert (row["im"], row["phase_deg"], row["multiplicity"]) == (0, 0, 1)
        assert (row["domain"], row["mode"], row["gauge"]) == ("discrete", "nominal", "unnormalised")


def test_a_head_layer_has_a_row_and_a_summary_per_head():
    operator = ScalarDecay(torch.tensor([-0.1, -0.2]), state_size=8)
    tables = analysed((0, recurrence(operator, head_axis="head", width=4), None))
    assert [(r["head"], r["channel"], r["state"], r["multiplicity"]) for r in tables["spectrum"]] \
        == [(0, None, None, 32), (1, None, None, 32)]  # fmt: skip
    assert [(r["head"], r["count"]) for r in tables["spectrum_summary"]] == [
        (None, 64), (0, 32), (1, 32),
    ]  # fmt: skip
    whole = [r for r in tables["spectrum_histogram"] if r["head"] is None]
    assert sum(r["count"] for r in whole) == 64


def test_complex_eigenvalues_keep_modulus_and_phase():
    log_decay, phase = torch.tensor([[-0.1, -0.1, 0.0]]), torch.tensor([[1.0, -1.0, math.pi]])
    tables = analysed((0, recurrence(DiagonalDecay(log_decay, phase), "static"), None))
    rows = tables["spectrum"]
    np.testing.assert_allclose([r["phase_deg"] for r in rows], np.degrees(phase[0].numpy()))
    real = torch.polar(log_decay.exp(), phase)[0].real.numpy()
    np.testing.assert_allclose([r["re"] for r in rows], real, atol=1e-7)
    (summary,) = tables["spectrum_summary"]
    assert summary["share_phase_45_90"] == pytest.approx(2 / 3)
    assert summary["share_phase_90_180"] == pytest.approx(1 / 3)
    assert not summary["stable"]
    assert summary["spectral_radius"] == 1.0
    assert rows[2]["timescale_steps"] == math.inf


on_edges = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 10.0, 100.0])


@given(st.lists(on_edges | st.floats(1e-9, 500), min_size=1))
def test_exact_shares_count_each_eigenvalue_once_and_edges_below(moduli):
    log_modulus = torch.tensor([moduli], dtype=torch.float64).log()
    (summary,) = analysed((0, recurrence(DiagonalDecay(log_modulus)), None))["spectrum_summary"]
    shares = [summary[name] for name in MODULUS_SHARES]
    assert sum(shares) == pytest.approx(1)
    np.testing.assert_allclose(shares, share_by_counting(np.array(moduli)), atol=1e-12)
    assert all(summary[bound_name(name)] == 0 for name in MODULUS_SHARES)
    assert summary["spectral_radius"] == pytest.approx(max(moduli))
    assert summary["mean_modulus"] == pytest.approx(float(np.mean(moduli)))
    assert summary["modulus_q50"] in [pytest.approx(m) for m in moduli]


class Measured:
    """An operator whose eigenvalues come with error bounds."""

    structure = "measured"

    def __init__(self, values, bounds, multiplicity=1):
        self.found = replace(
            DiscreteEigenvalues.from_values(torch.tensor([values], dtype=torch.complex128)),
            error_bound=torch.tensor([bounds], dtype=torch.float64),
            multiplicity=multiplicity,
        )
        self.heads, self.state_size = 1, sum(self.found.multiplicities)

    def eigenvalues(self):
        return self.found


def test_shares_say_how_many_eigenvalues_their_errors_may_move():
    # 0.85 may be above 0.9, 0.95 may not be below it, 0.3i may have a phase of nearly anything.
    operator = Measured([0.85, 0.95, 0.3j, 0.05], [0.1, 0.01, 0.19, 0.0])
    (summary,) = analysed((0, recurrence(operator, "static"), None))["spectrum_summary"]
    shares = {name: (summary[name], summary[bound_name(name)]) for name in MODULUS_SHARES}
    assert shares["share_modulus_0p5_0p9"] == (0.25, 0.25)  # 0.85 may leave
    assert shares["share_modulus_0p9_1"] == (0.25, 0.25)  # and come here
    assert shares["share_modulus_0_0p1"] == (0.25, 0.0)
    assert shares["share_modulus_0p1_0p5"] == (0.25, 0.0)  # 0.3 stays between 0.1 and 0.5
    assert shares["share_modulus_1_10"] == (0.0, 0.0)
    assert (summary["share_phase_45_90"], summary["share_phase_45_90_bound"]) == (0.25, 0.25)
    assert summary["relative_error"] == pytest.approx(
        (-math.log(0.3 - 0.19) + math.log(0.3)) / -math.log(0.3)
    )


def test_an_eigenvalue_of_which_nothing_is_known_may_be_in_any_bin():
    (summary,) = analysed((0, recurrence(Measured([0.5j, 0.95], [math.inf, 0.0]), "static"), None))[
        "spectrum_summary"
    ]
    bounds = [summary[bound_name(name)] for name in MODULUS_SHARES]
    assert bounds == [0.5] * len(bounds)
    assert summary["relative_error"] == math.inf


def test_shares_and_quantiles_weigh_by_multiplicity():
    operator = Measured([0.05, 0.95], [0.0, 0.0], multiplicity=(1, 3))
    tables = analysed((0, recurrence(operator, "static"), None))
    (summary,) = tables["spectrum_summary"]
    assert (summary["count"], summary["share_modulus_0p9_1"]) == (4, 0.75)
    assert summary["modulus_q50"] == pytest.approx(0.95)
    assert summary["mean_modulus"] == pytest.approx((0.05 + 3 * 0.95) / 4)
    assert [row["multiplicity"] for row in tables["spectrum"]] == [1, 3]
    assert sum(row["count"] for row in tables["spectrum_histogram"]) == 4


def test_a_static_layer_is_written_once_however_often_it_is_seen():
    static = recurrence(DiagonalDecay(torch.tensor([[-0.1, -0.2]])), "static")
    valid = torch.ones(1, 4, dtype=torch.bool)
    tables = analysed((0, static, valid), (0, static, valid))
    assert len(tables["spectrum"]) == 2
    assert len(tables["spectrum_summary"]) == 1


def test_tokens_whose_transition_acts_on_nothing_are_not_counted():
    """The first of a sequence, the first after padding, and those that a layer starts anew at."""
    log_decay = torch.tensor([[-9.0, -0.5, -9.0, -0.5], [-9.0, -9.0, -0.5, -9.0]]).unsqueeze(-1)
    plain = recurrence(ScalarDecay(log_decay, 1), "data", head_axis="head")
    starts = torch.tensor([[False, False, True, False], [False, False, False, False]])
    valid = torch.tensor([[True, True, True, True], [False, True, True, False]])
    (summary, _) = analysed((0, replace(plain, starts=starts), valid))["spectrum_summary"]
    assert summary["count"] == 3
    assert summary["share_modulus_0_0p1"] == 0
    (summary, _) = analysed((0, plain, valid))["spectrum_summary"]
    assert summary["count"] == 4
    with pytest.raises(AnalysisError, match="no token has a token before it"):
        analysed((0, plain, torch.tensor([[True, False, True, False]] * 2)))


def test_a_modulus_beyond_float64_leaves_the_other_heads_their_mean():
    log_decay = torch.tensor([[[0.0, 0], [800, -0.5], [-0.5, -0.5]]]).double()
    data = recurrence(ScalarDecay(log_decay, 1), "data", head_axis="head")
    rows = analysed((0, data, torch.ones(1, 3, dtype=torch.bool)))["spectrum_summary"]
    means = {row["head"]: row["mean_modulus"] for row in rows}
    assert means[None] == means[0] == math.inf
    assert means[1] == pytest.approx(math.exp(-0.5), rel=0.01)
    static = recurrence(DiagonalDecay(torch.tensor([[800.0, -0.5]]).double()), "static")
    (summary,) = analysed((0, static, None))["spectrum_summary"]
    assert (summary["mean_modulus"], summary["spectral_radius"]) == (math.inf, math.inf)


def test_growth_at_a_token_leaves_stability_open():
    log_decay = torch.tensor([[[0.0], [0.3], [-0.5]]])
    data = recurrence(ScalarDecay(log_decay, 1), "data", head_axis="head")
    for row in analysed((0, data, torch.ones(1, 3, dtype=torch.bool)))["spectrum_summary"]:
        assert row["stable"] is None


@given(
    tokens=st.integers(2, 60),
    channels=st.integers(1, 6),
    states=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_data_mode_is_the_multiplied_out_distribution_within_its_bounds(
    tokens, channels, states, seed
):
    torch.manual_seed(seed)
    step = torch.rand(2, tokens, channels) * 3
    rate = torch.rand(channels, states) * 2 + 1e-3
    valid = torch.rand(2, tokens) > 0.3
    valid[0, :2] = True
    seen = (3, recurrence(SeparableDecay(step, rate), "data"), valid)
    tables = analysed(seen)
    assert "spectrum" not in tables
    (summary,) = tables["spectrum_summary"]
    follows = [
        (sequence, token)
        for sequence, token in valid.nonzero().tolist()
        if token and valid[sequence, token - 1]
    ]
    multiplied = step.unsqueeze(-1) * rate
    rates = torch.stack([multiplied[at] for at in follows]).double().flatten().numpy()
    assert summary["count"] == len(rates) == sum(r["count"] for r in tables["spectrum_histogram"])
    assert summary["spectral_radius"] == pytest.approx(math.exp(-rates.min()), rel=1e-6)
    for name, true in zip(MODULUS_SHARES, share_by_counting(np.exp(-rates)), strict=True):
        assert abs(summary[name] - true) <= summary[bound_name(name)] + 1e-9
    for name, q in (("decay_rate_q05", 0.05), ("decay_rate_q50", 0.5), ("decay_rate_q95", 0.95)):
        exact = np.quantile(rates, q, method="inverted_cdf")
        assert summary[name] == pytest.approx(exact, rel=0.0101)
    assert summary["relative_error"] == pytest.approx(0.01)
    assert summary["mean_modulus"] == pytest.approx(np.exp(-rates).mean(), abs=0.004)


def test_heads_are_kept_apart_in_data_mode():
    torch.manual_seed(0)
    log_decay = -torch.rand(2, 30, 3) * torch.tensor([0.1, 1.0, 5.0])
    operator = ScalarDecay(log_decay, state_size=4)
    valid = torch.ones(2, 30, dtype=torch.bool)
    tables = analysed((0, recurrence(operator, "data", "head", width=2), valid))
    by_head = {r["head"]: r for r in tables["spectrum_summary"]}
    assert by_head[None]["count"] == 2 * 29 * 3 * 8
    for head in range(3):
        assert by_head[head]["count"] == 2 * 29 * 8
        exact = np.quantile(-log_decay[:, 1:, head], 0.5, method="inverted_cdf")
        assert by_head[head]["decay_rate_q50"] == pytest.approx(exact, rel=0.0101)


def test_complex_data_mode_has_exact_phase_shares():
    log_decay = torch.full((1, 4, 1, 2), -0.3)
    phase = torch.tensor([0.2, -2.0]).expand(1, 4, 1, 2)
    valid = torch.tensor([[True, True, True, False]])
    tables = analysed((0, recurrence(DiagonalDecay(log_decay, phase), "data"), valid))
    (summary,) = tables["spectrum_summary"]
    assert summary["count"] == 4
    assert [summary[name] for name in PHASE_SHARES] == [0, 0, 0.5, 0, 0.5]


@pytest.mark.parametrize("mode", ["nominal", "data"])
def test_continuous_rows_have_no_modulus_and_no_steps(mode):
    step = torch.rand(1, 4, 2) if mode == "data" else torch.rand(2)
    rate = torch.tensor([[0.8], [2.0]])
    valid = torch.ones(1, 4, dtype=torch.bool) if mode == "data" else None
    rec = recurrence(SeparableDecay(step, rate), mode, generator=-rate)
    tables = analysed((0, rec, valid), domain="continuous")
    (summary,) = tables["spectrum_summary"]
    assert summary["spectral_abscissa"] == pytest.approx(-0.8)
    assert summary["stable"]
    empty = ["spectral_radius", "mean_modulus", "modulus_q50", "timescale_q50", *MODULUS_SHARES]
    assert [summary[name] for name in empty] == [None] * len(empty)
    row = tables["spectrum"][0]
    assert row["re"] == pytest.approx(-0.8)
    assert (row["modulus"], row["timescale_steps"], row["phase_deg"]) == (None, None, None)


def test_a_continuous_eigenvalue_outside_the_unit_circle_is_stable():
    """viXra 2509.0116 reports a spectral radius of 1.078; of a continuous A it says nothing."""
    rate = torch.tensor([[1.078]])
    rec = recurrence(SeparableDecay(torch.tensor([0.05]), rate), generator=-rate)
    tables = analysed((0, rec, None), domain="both")
    by_domain = {row["domain"]: row for row in tables["spectrum_summary"]}
    assert by_domain["continuous"]["stable"]
    assert by_domain["discrete"]["stable"]
    assert by_domain["discrete"]["spectral_radius"] == pytest.approx(math.exp(-0.05 * 1.078))


@pytest.mark.parametrize("mixer", [
    Mamba(model_width=4, channels=6, state_size=3, step_rank=1),
    Mamba2(model_width=4, heads=3, head_width=2, state_size=5),
], ids=lambda mixer: mixer.name)  # fmt: skip
def test_multiplicities_add_up_to_the_state(mixer):
    p = {role: torch.rand(shape) for role, shape in mixer.shapes().items()}
    tables = analysed((0, mixer.from_weights(p), None), domain="both")
    for domain in ("discrete", "continuous"):
        rows = [r for r in tables["spectrum"] if r["domain"] == domain]
        width = getattr(mixer, "head_width", 1)
        assert sum(r["multiplicity"] for r in rows) == mixer.heads * mixer.state_size * width
