"""Layers with scalar and diagonal decays, and attention: what the kit does not ask of them."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
from spectrakit_fla.examples import references
from spectrakit_fla.mixers.feature_maps import SIGNED
from spectrakit_fla.mixers.forgetting_attention import ForgettingAttention
from spectrakit_fla.mixers.gla import GLA
from spectrakit_fla.mixers.hgrn import HGRN
from spectrakit_fla.mixers.hgrn2 import HGRN2
from spectrakit_fla.mixers.linear_attention import FeatureAttention
from spectrakit_fla.mixers.pieces import ReadOut
from spectrakit_fla.mixers.retention import MultiScaleRetention

from spectrakit.mixers import Retention
from spectrakit.testing import random_parameters

WIDTH = 6
MAPS = ("elementwise_product", "elu", "relu", "identity", "t2r", "hedgehog", "dpfp")

gla = partial(GLA, WIDTH, heads=4, groups=2, state_size=3, head_width=5)
forgetting = partial(ForgettingAttention, 4, model_width=WIDTH, groups=2, head_width=3)


def hidden(dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 18, WIDTH, generator=generator, dtype=torch.float64).to(dtype)


def largest_error(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("normalised", [False, True], ids=["sums", "normalised"])
@pytest.mark.parametrize("feature_map", MAPS)
def test_every_feature_map_is_that_of_all_pairs(feature_map, normalised):
    mixer = FeatureAttention(
        WIDTH, heads=4, groups=2, key_width=3, head_width=5, feature_map=feature_map,
        normalised=normalised,
    )  # fmt: skip
    p = random_parameters(mixer)
    seen = mixer.from_input(hidden(), p)
    assert largest_error(seen.output(), references.linear_attention(mixer, hidden(), p)) < 1e-9
    decaying = normalised and feature_map not in SIGNED
    assert seen.recurrence.gauge == ("dsf" if decaying else "unnormalised")
    if not decaying:
        assert bool((seen.recurrence.eigenvalues().modulus == 1).all())


def test_tokens_whose_features_are_all_zero_read_nothing_and_change_no_scale():
    mixer = FeatureAttention(
        WIDTH, heads=4, groups=2, key_width=3, head_width=5, feature_map="relu", normalised=True
    )
    p = random_parameters(mixer)
    silent = hidden()
    silent[:, 7] = 0
    seen = mixer.from_input(silent, p)
    assert largest_error(seen.output(), references.linear_attention(mixer, silent, p)) < 1e-9
    assert bool((seen.recurrence.eigenvalues().modulus[:, 7] == 1).all())


@pytest.mark.parametrize("read_out", [ReadOut(1e-6, gate=None), ReadOut(1e-6, affine=False)])
@pytest.mark.parametrize("groups", [1, 4])
def test_retention_without_a_gate_or_a_norms_weight(read_out, groups):
    mixer = MultiScaleRetention(4, 8, 5, WIDTH, groups, read_out)
    p = random_parameters(mixer)
    expected = references.retention(mixer, hidden(), p)
    assert largest_error(mixer.from_input(hidden(), p).output(), expected) < 1e-9


def test_retention_has_the_hosts_decays():
    mixer = MultiScaleRetention(3, 4, 5, WIDTH, 3)
    found, expected = (m.from_weights({}).eigenvalues() for m in (mixer, Retention(3, 4, 5)))
    assert torch.equal(found.modulus, expected.modulus)
    assert torch.allclose(found.modulus.flatten(), 1 - 2.0 ** -torch.arange(5.0, 8).double())


def test_nominal_decays_of_gla_are_its_gates_at_their_bias():
    for clamp in (None, -0.05):
        mixer = gla(clamp=clamp)
        p = random_parameters(mixer)
        nominal = mixer.from_weights({"decay_bias": p["decay_bias"]}).eigenvalues().modulus
        gates = p["decay_bias"].sigmoid() ** (1 / 16)
        if clamp is not None:
            gates = gates.clamp(min=torch.tensor(clamp, dtype=gates.dtype).exp())
        assert torch.allclose(nominal, gates.view(2, 3).repeat_interleave(2, 0))


def test_a_zero_input_shows_the_nominal_decays():
    zero = torch.zeros(1, 3, WIDTH, dtype=torch.float64)
    for mixer in (gla(), HGRN(WIDTH, 5, layer=2, layers=4), HGRN2(WIDTH, 2, 3, 5, 2, 4)):
        p = random_parameters(mixer)
        nominal = mixer.from_weights(p).eigenvalues().modulus
        found = mixer.from_input(zero, p).recurrence.eigenvalues().modulus
        assert torch.allclose(found, nominal.expand_as(found))


def test_lower_bounds_rise_with_depth_from_zero():
    bounds = random_parameters(HGRN(WIDTH, 5, layer=0, layers=4))["lower_bounds"]
    decays = [
        HGRN(WIDTH, 5, layer, 4).from_weights({"lower_bounds": bounds}).eigenvalues().modulus
        for layer in range(4)
    ]
    assert bool((decays[0] == 0.5).all())
    assert all(bool((after > before).all()) for before, after in pairwise(decays))
    assert torch.equal(HGRN(WIDTH, 5, 3, None).from_weights({}).eigenvalues().modulus, decays[0])


def test_forgetting_attention_without_its_normaliser_decays_by_its_gates():
    mixer = forgetting()
    p = random_parameters(mixer)
    seen = mixer.from_input(hidden(), p)
    gates = (hidden() @ p["forget_projection"].T + p["forget_bias"]).sigmoid()
    found = seen.recurrence.in_gauge("unnormalised").eigenvalues().modulus.squeeze(-1)
    assert torch.allclose(found[:, 1:], gates[:, 1:])


def test_forgetting_attention_that_forgets_nothing_is_softmax_attention():
    mixer = forgetting()
    p = random_parameters(mixer)
    p["forget_projection"].zero_()
    p["forget_bias"].fill_(torch.inf)
    recurrence = mixer.from_input(hidden(), p).recurrence
    scores = recurrence.output_map.matrix(4).transpose(1, 2).log()  # (B, H, T, T)
    log_normaliser = scores.logsumexp(-1).transpose(1, 2)
    ratios = (log_normaliser[:, :-1] - log_normaliser[:, 1:]).exp()
    assert torch.allclose(recurrence.eigenvalues().modulus[:, 1:, :, 0], ratios)


@pytest.mark.parametrize(
    "mixer",
    [gla(), HGRN(WIDTH, 5, 1, 4), HGRN2(WIDTH, 2, 3, 5, 1, 4), forgetting(),
     FeatureAttention(WIDTH, 4, 2, 3, 5, "elu", normalised=True)],
    ids=lambda mixer: mixer.name,
)  # fmt: skip
def test_decays_keep_their_digits_in_bfloat16(mixer):
    p = {role: value.bfloat16() for role, value in random_parameters(mixer).items()}
    exact = {role: value.double() for role, value in p.items()}
    seen = mixer.from_input(hidden(torch.bfloat16), p)
    expected = mixer.from_input(hidden(torch.bfloat16).double(), exact)
    log_decay = seen.recurrence.eigenvalues().log_modulus[:, 1:]
    assert log_decay.dtype in (torch.float32, torch.float64)
    assert torch.allclose(
        log_decay.double(), expected.recurrence.eigenvalues().log_modulus[:, 1:], atol=0.03
    )
    assert seen.output().dtype == torch.bfloat16
