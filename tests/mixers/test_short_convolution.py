"""Gated short convolution: the recurrence against transformers' own layer; a nilpotent operator."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from spectrakit.mixers import ShortConvolution
from tests.mixers.test_mamba import assert_within


@given(
    channels=st.integers(1, 6),
    width=st.integers(1, 7),
    bias=st.booleans(),
    tokens=st.integers(1, 12),
    seed=st.integers(0, 2**16),
)
def test_recurrence_is_the_transformers_layer(channels, width, bias, tokens, seed):
    from transformers.models.lfm2.configuration_lfm2 import Lfm2Config
    from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

    from spectrakit.architectures.transformers_lfm import SHORT_CONVOLUTION_NAMES

    torch.manual_seed(seed)
    config = Lfm2Config(
        hidden_size=channels,
        num_attention_heads=1,
        num_hidden_layers=1,
        conv_L_cache=width,
        conv_bias=bias,
        layer_types=["conv"],
    )
    module = Lfm2ShortConv(config, 0).double()
    mixer = ShortConvolution(channels, width, bias)
    stored = dict(module.named_parameters())
    p = {role: stored[SHORT_CONVOLUTION_NAMES[role]].detach() for role in mixer.shapes()}
    assert len(p) == len(stored)
    hidden = torch.randn(2, tokens, channels, dtype=torch.float64)
    with torch.no_grad():
        expected = module(hidden)
    assert_within(mixer.from_input(hidden, p).output(), expected, 1e-12)


def test_every_eigenvalue_is_zero_and_the_memory_ends():
    mixer = ShortConvolution(channels=3, width=4)
    weight = torch.randn(3, 1, 4)
    recurrence = mixer.from_weights({"convolution": weight})
    assert recurrence.mode == "static"
    eigenvalues = recurrence.eigenvalues()
    assert eigenvalues.log_modulus.tolist() == [[-math.inf]] * 3
    assert eigenvalues.multiplicity == 4
    matrix = recurrence.operator.dense()
    assert bool((torch.linalg.matrix_power(matrix, 4) == 0).all())
    assert bool((torch.linalg.matrix_power(matrix, 3) != 0).any())
    impulse = torch.zeros(1, 7, 3, 1, dtype=torch.float64)
    impulse[:, 0] = 1
    response = recurrence.run(impulse)[0, :, :, 0]
    assert torch.equal(response[:4], weight.double().squeeze(1).flip(-1).T)
    assert bool((response[4:] == 0).all())
