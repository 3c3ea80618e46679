"""How initial weights are drawn: their distributions, and RWKV-7's values channel by channel."""

from __future__ import annotations

import math

import pytest
import torch

from spectrakit.architectures.initial_weights import Draw
from spectrakit.mixers.initial_rwkv7 import InitialRWKV7, embedding

ROWS, COLUMNS = 300, 500


def draw(*shape, name="weight", seed=0):
    return Draw.of(name, shape or (ROWS, COLUMNS), seed)


@pytest.mark.parametrize(
    ("values", "std", "bound"),
    [
        (draw().normal(0.02), 0.02, None),
        (draw().uniform(-0.3, 0.3), 0.3 / math.sqrt(3), 0.3),
        (draw().by_inputs(), 1 / math.sqrt(3 * COLUMNS), 1 / math.sqrt(COLUMNS)),
        (draw().by_inputs(0.5), 0.5 / math.sqrt(3 * COLUMNS), 0.5 / math.sqrt(COLUMNS)),
        (draw(ROWS, 1, COLUMNS).by_inputs(), 1 / math.sqrt(3 * COLUMNS), 1 / math.sqrt(COLUMNS)),
        (draw().by_both(2), 2 * math.sqrt(2 / (ROWS + COLUMNS)), 2 * math.sqrt(6 / 800)),
    ],
    ids=["normal", "uniform", "by inputs", "half of it", "convolution", "by both"],
)
def test_distributions_have_their_moments(values, std, bound):
    count = values.numel()
    assert values.dtype == torch.float32
    assert abs(float(values.mean())) < 5 * std / math.sqrt(count)
    assert float(values.std()) == pytest.approx(std, rel=5 / math.sqrt(2 * count))
    if bound is not None:
        assert float(values.abs().max()) == pytest.approx(bound, rel=1e-3)
        assert float(values.abs().max()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (30, 30)])
def test_orthogonal_matrices_are(shape):
    matrix = draw(*shape).orthogonal(0.1).double()
    gram = matrix @ matrix.mT if shape[0] <= shape[1] else matrix.mT @ matrix
    torch.testing.assert_close(gram, 0.01 * torch.eye(min(shape)).double(), atol=1e-8, rtol=0)


def test_the_bias_of_a_step_gives_steps_that_are_log_uniform():
    step = torch.nn.functional.softplus(draw().step_bias(1e-3, 0.1).double())
    log = step.log()
    low, high = math.log(1e-3), math.log(0.1)
    assert float(log.min()) == pytest.approx(low, abs=1e-3)
    assert float(log.max()) == pytest.approx(high, abs=1e-3)
    assert float(log.mean()) == pytest.approx((low + high) / 2, abs=0.02)
    assert float(log.std()) == pytest.approx((high - low) / math.sqrt(12), rel=0.01)
    floored = torch.nn.functional.softplus(draw().step_bias(1e-6, 1e-5, 1e-4).double())
    torch.testing.assert_close(floored, torch.full_like(floored, 1e-4), rtol=1e-3, atol=0)


def test_name_and_seed_decide():
    first = draw(name="a").normal(1)
    assert torch.equal(first, draw(name="a").normal(1))
    assert not torch.equal(first, draw(name="b").normal(1))
    assert not torch.equal(first, draw(name="a", seed=1).normal(1))


def rwkv7(role, shape, layer=1, rank_axis=1):
    return InitialRWKV7(layer, 4, head_width=4, rank_axis=rank_axis).time_mixing(role, draw(*shape))


def test_rwkv7s_channels_one_by_one():
    """Layer 1 of 4, 12 channels in heads of 4."""
    past, left = 1 / 3, 3 / 4
    for n in range(12):
        zigzag = ((n % 4) - 1.5) / 1.5
        zigzag *= abs(zigzag)
        linear = n / 11 - 0.5
        expected = {
            "mix_receptance": 1 - (n / 12) ** (0.2 * left),
            "mix_value": 1 - (n / 12) ** (0.7 * left),
            "mix_rate": 1 - (n / 12) ** (0.9 * left),
            "decay_bias": -6 + 6 * (n / 11) ** (1 + past**0.3) + 0.5 + 2.5 * zigzag,
            "rate_bias": -0.19 + 0.3 * zigzag + 0.4 * linear,
            "value_bias": 0.73 - 0.4 * linear,
            "removal": 0.71 - 0.1 * linear,
            "replacement": 1.02,
            "norm": 0.5**0.7,
            "norm_bias": 0,
        }
        for role, value in expected.items():
            assert float(rwkv7(role, (1, 1, 12))[0, 0, n]) == pytest.approx(value, abs=1e-6), role
    assert torch.equal(rwkv7("bonus", (3, 4)), torch.full((3, 4), -0.04))
    assert float(InitialRWKV7(1, 4, 4, 1).channel_mixing("mix", draw(12))[3]) == pytest.approx(
        1 - 0.25 ** (left**4)
    )


@pytest.mark.parametrize(("role", "size"), [("receptance", 1), ("key", 0.1), ("value", 1)])
def test_rwkv7s_projections_are_orthogonal(role, size):
    singular = torch.linalg.svdvals(rwkv7(role, (24, 24)).double())
    torch.testing.assert_close(singular, torch.full_like(singular, size), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("shape", "axis", "size"), [
    ((24, 6), 1, 0.1), ((6, 24), 0, 0.1), ((6, 24), 1, 0.2), ((24, 6), 0, 0.2),
])  # fmt: skip
def test_what_leads_out_of_a_low_rank_is_larger_where_that_is_none(shape, axis, size):
    singular = torch.linalg.svdvals(rwkv7("decay_up", shape, rank_axis=axis).double())
    torch.testing.assert_close(singular, torch.full_like(singular, size), rtol=1e-5, atol=0)


def test_at_first_rwkv7_leaves_the_residual_stream_alone():
    assert not rwkv7("output", (24, 24)).any()
    assert not rwkv7("gate_down", (6, 24)).any()
    scheme = InitialRWKV7(0, 4, 4, 1)
    assert not scheme.channel_mixing("value", draw(24, 96)).any()
    assert torch.linalg.svdvals(scheme.channel_mixing("key", draw(96, 24)))[-1] > 0.99
    assert float(embedding(draw()).abs().max()) == pytest.approx(1e-4, rel=1e-3)


def test_a_model_of_one_layer_is_no_division_by_zero():
    scheme = InitialRWKV7(0, 1, 1, 1)
    roles = ("decay_bias", "rate_bias", "value_bias", "removal", "mix_key", "norm")
    assert all(bool(scheme.time_mixing(role, draw(1)).isfinite()) for role in roles)
