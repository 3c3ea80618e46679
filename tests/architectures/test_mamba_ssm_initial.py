"""What models of mamba_ssm start training from: hybrids and those with MLPs, which we run."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from spectrakit import open_checkpoint
from spectrakit.architectures.initial_weights import Draw
from spectrakit.architectures.mamba_ssm_initial import initial_mamba_ssm
from spectrakit.architectures.mamba_ssm_model import MambaSSMModel
from spectrakit.architectures.random_weights import randomize
from spectrakit.errors import MalformedError
from tests.support.mamba_ssm_files import write_random_mamba_ssm

CONFIG = {
    "d_model": 16, "n_layer": 3, "vocab_size": 256, "d_intermediate": 100, "attn_layer_idx": [1],
    "attn_cfg": {"causal": True, "num_heads": 2, "d_conv": 3},
}  # fmt: skip
BLOCK = "backbone.layers.0."


def drawn(name, *shape, **config):
    """The weight of this name below the first block, of this shape."""
    tensors = {f"{BLOCK}mixer.conv1d.weight": SimpleNamespace(shape=(*shape[:1], 1, 4))}
    model = SimpleNamespace(model_id="m", config=CONFIG | config, tensors=tensors)
    return initial_mamba_ssm(model)(BLOCK + name, Draw.of(name, shape, 0))


def largest(values):
    return float(values.abs().max())


def test_projections_are_torchs_and_those_that_leave_a_branch_are_scaled():
    for name in ("mixer.in_proj.weight", "mixer.x_proj.weight", "mlp.fc1.weight"):
        assert largest(drawn(name, 300, 400)) == pytest.approx(1 / 20, rel=1e-3)
    for name in ("mixer.out_proj.weight", "mlp.fc2.weight"):
        values = drawn(name, 300, 400)
        assert largest(values) == pytest.approx(1 / 20 / math.sqrt(2 * 3), rel=1e-3)
        assert float(values.std()) == pytest.approx(largest(values) / math.sqrt(3), rel=0.01)
        alone = drawn(name, 300, 400, d_intermediate=0)
        assert largest(alone) == pytest.approx(1 / 20 / math.sqrt(3), rel=1e-3)
    assert not drawn("mixer.in_proj.bias", 300).any()


def test_mambas_decays_and_steps():
    rates = drawn("mixer.A_log", 5, 8).exp()
    torch.testing.assert_close(rates, torch.arange(1.0, 9).expand(5, 8))
    step = torch.nn.functional.softplus(drawn("mixer.dt_proj.bias", 20_000).double())
    assert float(step.min()) == pytest.approx(1e-3, rel=1e-2)
    assert float(step.max()) == pytest.approx(0.1, rel=1e-2)
    ssm_cfg = {"dt_scale": 2.0}
    weight = drawn("mixer.dt_proj.weight", 300, 25, ssm_cfg=ssm_cfg)
    assert largest(weight) == pytest.approx(2 / 5, rel=1e-3)
    constant = drawn("mixer.dt_proj.weight", 30, 25, ssm_cfg={"dt_init": "constant"})
    torch.testing.assert_close(constant, torch.full((30, 25), 1 / 5))


def test_mamba2s_decays_and_convolutions():
    rates = drawn("mixer.A_log", 20_000).exp()
    assert (float(rates.min()), float(rates.max())) == pytest.approx((1, 16), rel=1e-2)
    assert float(rates.mean()) == pytest.approx(8.5, rel=0.02)
    narrow = drawn("mixer.A_log", 9, ssm_cfg={"A_init_range": [2, 2]}).exp()
    torch.testing.assert_close(narrow, torch.full((9,), 2.0))
    assert largest(drawn("mixer.conv1d.weight", 3000, 1, 4)) == pytest.approx(1 / 2, rel=1e-3)
    assert largest(drawn("mixer.conv1d.bias", 3000)) == pytest.approx(1 / 2, rel=1e-3)
    narrow = drawn("mixer.conv1d.weight", 3000, 1, 4, ssm_cfg={"conv_init": 0.1})
    assert largest(narrow) == pytest.approx(0.1, rel=1e-3)


def test_mamba3s_ranks():
    assert set(drawn("mixer.mimo_x", 2, 4, 3).flatten().tolist()) == {0.25}
    assert set(drawn("mixer.mimo_z", 2, 4, 3).flatten().tolist()) == {1.0}
    assert set(drawn("mixer.B_bias", 2, 4, 3).flatten().tolist()) == {1.0}
    assert set(drawn("mixer.B_norm.weight", 3).tolist()) == {1.0}


@pytest.mark.parametrize("options", [{"dt_min": 0.2}, {"A_init_range": [3]}, {"dt_min": -1.0}])
def test_options_without_sense_are_refused(options):
    with pytest.raises(MalformedError, match="no initial values"):
        drawn("mixer.D", 3, ssm_cfg=options)


@pytest.mark.parametrize("ssm_cfg", [{}, {"layer": "Mamba2", "d_state": 8, "headdim": 8}])
def test_the_parts_of_a_hybrid(ssm_cfg, tmp_path):
    config = CONFIG | {"rms_norm": False, "ssm_cfg": ssm_cfg}
    with open_checkpoint(str(write_random_mamba_ssm(tmp_path, **config))) as model:
        found = {}
        for what in ("all", "mixers", "mlps"):
            runnable = model.load()
            assert isinstance(runnable, MambaSSMModel)
            before = dict(runnable.weights)
            randomize(runnable, model.layers, what, seed=2)
            found[what] = runnable.weights
            new = {name for name in before if runnable.weights[name] is not before[name]}
            if what != "all":
                part = ".mixer." if what == "mixers" else ".mlp."
                assert new == {name for name in before if part in name}
                assert all(torch.equal(found[what][n], found["all"][n]) for n in new)
        runnable.run(torch.arange(20)[None])
    norms = {name: set(w.tolist()) for name, w in found["all"].items() if "norm" in name}
    assert all(
        values == {1.0 if name.endswith("weight") else 0.0} for name, values in norms.items()
    )
    attention = found["all"]["backbone.layers.1.mixer.conv1d.bias"]
    assert 0 < largest(attention) <= 3**-0.5
