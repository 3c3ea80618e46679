"""RG-LRU: the recurrence against transformers' own unit, and against its products written out."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import RGLRU
from tests.mixers.test_mamba import assert_within


@st.composite
def configurations(draw):
    blocks = draw(st.integers(1, 3))
    return RGLRU(channels=blocks * draw(st.integers(1, 4)), blocks=blocks)


def random_parameters(mixer, seed, dtype=torch.float64):
    torch.manual_seed(seed)
    return {role: torch.randn(shape, dtype=dtype) for role, shape in mixer.shapes().items()}


def products_written_out(mixer, x, p):
    """y_t = sum_s (a_{s+1} ... a_t) sqrt(1 - a_s^2) i_s x_s, with a_0 = 0."""
    gates = {}
    for which in ("recurrence", "input"):
        full = torch.block_diag(*p[f"{which}_projection"])
        raw = x @ full + p[f"{which}_bias"].flatten()
        gates[which] = 1 / (1 + torch.exp(-raw))
    base = torch.log1p(torch.exp(p["Lambda"]))
    a = torch.exp(-8 * base * gates["recurrence"])
    scale = torch.sqrt(1 - a**2)
    scale[:, 0] = 1
    y = torch.zeros_like(x)
    for t in range(x.shape[1]):
        for s in range(t + 1):
            y[:, t] += a[:, s + 1 : t + 1].prod(1) * (scale * gates["input"] * x)[:, s]
    return y


@given(mixer=configurations(), tokens=st.integers(1, 8), seed=st.integers(0, 2**16))
def test_recurrence_is_the_products_written_out(mixer, tokens, seed):
    p = random_parameters(mixer, seed)
    x = torch.randn(2, tokens, mixer.channels, dtype=torch.float64)
    observation = mixer.from_input(x, p)
    assert_within(observation.output(), products_written_out(mixer, x, p), 1e-12)
    assert observation.recurrence.starts.sum(1).tolist() == [1, 1]


@pytest.mark.parametrize("positions", [[0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2], [3, 4, 5, 6, 0, 1]])
def test_recurrence_is_the_transformers_unit(positions):
    from transformers.models.recurrent_gemma.configuration_recurrent_gemma import (
        RecurrentGemmaConfig,
    )
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRglru

    from spectrakit.architectures.transformers_recurrent_gemma import RG_LRU_NAMES

    config = RecurrentGemmaConfig(hidden_size=8, lru_width=12, num_attention_heads=2)
    module = RecurrentGemmaRglru(config)
    mixer = RGLRU(channels=12, blocks=2)
    p = random_parameters(mixer, 0, torch.float32)
    module.load_state_dict({RG_LRU_NAMES[role]: tensor for role, tensor in p.items()})
    x = torch.randn(2, len(positions), 12)
    position_ids = torch.tensor([positions])
    with torch.no_grad():
        expected = module(x, position_ids)
    recurrence = mixer.observed(x, p, (position_ids == 0).expand(2, -1))
    assert_within(recurrence.run(x.unsqueeze(-1)).squeeze(-1), expected, 1e-6)


def test_nominal_eigenvalues_are_the_closed_form():
    mixer = RGLRU(channels=6, blocks=2)
    p = random_parameters(mixer, 0, torch.float32)
    p["Lambda"] = torch.tensor([-30.0, -9.0, -1.0, 0.0, 3.0, 40.0])
    recurrence = mixer.from_weights(p)
    assert (recurrence.mode, recurrence.eigenvalues().multiplicity) == ("nominal", 1)
    decay_rate = recurrence.eigenvalues().decay_rate
    with mpmath.workdps(40):
        for c, bias in enumerate(p["recurrence_bias"].flatten().tolist()):
            gate = 1 / (1 + mpmath.exp(-bias))
            exact = 8 * gate * mpmath.log1p(mpmath.exp(float(p["Lambda"][c])))
            assert float(decay_rate[c, 0]) == pytest.approx(float(exact), rel=1e-14)


def test_where_a_document_starts_nothing_is_carried():
    mixer = RGLRU(channels=3, blocks=1)
    p = random_parameters(mixer, 1)
    x = torch.randn(1, 5, 3, dtype=torch.float64)
    starts = torch.tensor([[True, False, False, True, False]])
    recurrence = mixer.observed(x, p, starts)
    assert (recurrence.operator.log_decay == -math.inf)[0, :, 0].tolist() == starts[0].tolist()
    second = mixer.from_input(x[:, 3:], p).output()
    assert_within(recurrence.run(x.unsqueeze(-1)).squeeze(-1)[:, 3:], second, 1e-14)
