"""What models of Mamba-3 start training from: fla's projections, and parts of whole models."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from spectrakit_mamba3.examples import CHECKPOINTS, TOKENS
from spectrakit_mamba3.initial import initial_fla_mamba3

import spectrakit as sk
from spectrakit.architectures.initial_weights import Draw
from spectrakit.architectures.random_weights import randomize

MIXER = "backbone.layers.0.mixer."


def drawn(name, *shape, **config):
    source = SimpleNamespace(model_id="m", config={"num_hidden_layers": 4} | config)
    return initial_fla_mamba3(source)(name, Draw.of(name, shape, 0))


def test_flas_projections_are_normal_and_what_leaves_a_layer_is_uniform():
    for name in (MIXER + "in_proj.weight", "backbone.embeddings.weight"):
        assert float(drawn(name, 200, 300).std()) == pytest.approx(0.02, rel=0.02)
    assert not drawn(MIXER + "in_proj.bias", 30).any()
    values = drawn(MIXER + "out_proj.weight", 300, 400)
    assert float(values.abs().max()) == pytest.approx(1 / 20 / math.sqrt(4), rel=1e-3)
    plain = drawn(MIXER + "out_proj.weight", 300, 400, rescale_prenorm_residual=False)
    assert float(plain.std()) == pytest.approx(0.02, rel=0.02)
    assert float(plain.abs().max()) > 3.5 * 0.02


def test_steps_are_those_of_the_config():
    bias = drawn(MIXER + "dt_bias", 20_000, dt_min=0.01, dt_max=0.02).double()
    steps = torch.nn.functional.softplus(bias)
    assert (float(steps.min()), float(steps.max())) == pytest.approx((0.01, 0.02), rel=1e-2)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_parts_of_models_of_both_libraries(name, tmp_path):
    write, _, _ = CHECKPOINTS[name]
    write(tmp_path)
    with sk.open_checkpoint(str(tmp_path), config={"a_form": "softplus"}) as model:
        whole, runnable = model.load(), model.load()
        before = dict(runnable.weights)
        randomize(whole, model.layers, "all", seed=1)
        randomize(runnable, model.layers, "mixers", seed=1)
        for weight in before:
            source = whole.weights if ".mixer." in weight else before
            assert torch.equal(runnable.weights[weight], source[weight]), weight
        whole.run(TOKENS[:, :20])
    for weight, values in whole.weights.items():
        if weight.endswith(("mimo_x", "mimo_o")):
            torch.testing.assert_close(values, torch.full_like(values, 1 / 3))
        if weight.endswith(("norm.weight", "B_bias", "C_bias", ".D", "mimo_z", "norm2.weight")):
            assert set(values.flatten().tolist()) == {1.0}
