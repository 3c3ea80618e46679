"""Layers start as their kind was published: distributions, other weights, records, both modes."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import spectrakit as sk
from spectrakit.architectures.base import Layer
from spectrakit.architectures.published_initial import Place, published_initial
from spectrakit.architectures.random_weights import randomize
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.architectures.untrained import Untrained, drawn_by_role, initial_record
from spectrakit.errors import MalformedError, UnsupportedError, UsageError
from spectrakit.mixers import (
    MLSTM,
    RGLRU,
    RWKV4,
    RWKV5,
    RWKV6,
    GatedDeltaNet,
    KimiDelta,
    Mamba,
    Mamba2,
    SoftmaxAttention,
)
from spectrakit.token_options import TokenOptions
from tests.architectures.test_mamba_ssm_initial import CONFIG
from tests.families import FAMILIES
from tests.families.base import Family
from tests.support.mamba_ssm_files import write_random_mamba_ssm

BY_NAME = {str(family): family for family in FAMILIES}
#: Whose classes in transformers start from steps near one.
FORGETFUL = ("bamba", "falcon_h1", "granitemoehybrid", "jamba", "qwen3_next")
MAMBA2 = Mamba2(model_width=8, heads=4000, head_width=2, state_size=3)
MAMBA = Mamba(model_width=8, channels=3000, state_size=5, step_rank=9)
DELTA = GatedDeltaNet(heads=4000, head_width=2, state_size=3, groups=1)
KIMI = KimiDelta(heads=3000, head_width=2, state_size=2, rate_shape=(1, 1, 3000, 1))


def drawn(mixer, config=None, shapes=None, seed=0, index=0, layers=1):
    """Parameters in float64, by role."""
    initial = published_initial(mixer, Place(PartConfig("m", config or {}), index, layers))
    layer = Layer(index, f"layers.{index}", mixer.name, mixer)
    found = drawn_by_role(layer, initial, dict(shapes or mixer.shapes()), seed)
    return {role: values.double() for role, values in found.items()}


def is_uniform(values, low, high):
    """Whether values are U(low, high), by Kolmogorov and Smirnov."""
    return stats.kstest(np.ravel(values), stats.uniform(low, high - low).cdf).pvalue > 0.01


def steps(bias):
    return torch.log1p(bias.exp())  # softplus


@pytest.mark.parametrize("mixer", [MAMBA2, MAMBA, DELTA, KIMI], ids=lambda mixer: mixer.name)
@pytest.mark.parametrize(
    ("config", "low", "high"),
    [
        ({}, 1e-3, 0.1),
        ({"time_step_min": 0.01, "time_step_max": 0.5}, 0.01, 0.5),
        ({"linear_dt_min": 0.01, "linear_dt_max": 0.02}, 0.01, 0.02),
    ],
)
def test_steps_are_log_uniform(mixer, config, low, high):
    found = steps(drawn(mixer, config)["step_bias"]).log()
    assert math.log(low) - 1e-4 <= float(found.min())
    assert float(found.max()) <= math.log(high) + 1e-4
    assert is_uniform(found, math.log(low), math.log(high))


def test_a_floor_is_under_the_steps():
    config = {"time_step_min": 1e-5, "time_step_floor": 1e-3}
    found = steps(drawn(MAMBA2, config)["step_bias"])
    assert float(found.min()) == pytest.approx(1e-3, rel=1e-4)
    assert float((found < 1.001e-3).double().mean()) == pytest.approx(0.5, abs=0.05)


def test_rates():
    assert is_uniform(drawn(MAMBA2)["A_log"].exp(), 1, 16)
    assert is_uniform(drawn(DELTA)["A_log"].exp(), 0, 16)
    assert is_uniform(drawn(KIMI)["A_log"].exp(), 1, 16)
    assert drawn(KIMI)["A_log"].shape == KIMI.rate_shape
    bounded = drawn(replace(KIMI, lower_bound=-5.0))
    assert not bounded["A_log"].any()
    expected = torch.arange(1.0, 6).double().expand(3000, 5)
    torch.testing.assert_close(drawn(MAMBA)["A_log"].exp(), expected, rtol=1e-6, atol=0)
    config = {"linear_a_log_min": 2.0, "linear_a_log_max": 3.0}
    assert is_uniform(drawn(DELTA, config)["A_log"].exp(), 2, 3)
    grouped = drawn(replace(MAMBA, groups=3))
    assert grouped["A_log"].shape == (3, 1000, 5)
    assert is_uniform(steps(grouped["step_bias"]).log(), math.log(1e-3), math.log(0.1))


def test_what_is_around_the_steps():
    found = drawn(MAMBA)
    assert is_uniform(found["step_projection"], -1 / 3, 1 / 3)  # of rank 9
    assert is_uniform(found["convolution"], -0.5, 0.5)
    assert is_uniform(found["convolution_bias"], -0.5, 0.5)
    assert set(found["D"].tolist()) == {1.0}
    assert "input_projection" not in found
    constant = drawn(MAMBA, {"time_step_init_scheme": "constant", "time_step_scale": 2.0})
    torch.testing.assert_close(constant["step_projection"], torch.full((3000, 9), 2 / 3).double())
    assert is_uniform(drawn(MAMBA2, {"conv_init": 0.1})["convolution"], -0.1, 0.1)


def test_rg_lrus_ring():
    found = drawn(RGLRU(channels=4000, blocks=2))
    # a = exp(-softplus(Lambda)), whose eighth power is the slowest decay that the gate makes
    square = torch.exp(-2 * steps(found["Lambda"]))
    assert is_uniform(square, 0.9**2, 0.999**2)
    assert not found["recurrence_bias"].any()
    assert not found["input_bias"].any()


def test_rwkv_channel_by_channel():
    shapes = {"time_decay": (12,), "bonus": (12,)}
    for layer in range(4):
        found = drawn(RWKV4(12), shapes=shapes, index=layer, layers=4)
        fifth = drawn(RWKV5(3, 4), index=layer, layers=4)["time_decay"].flatten()
        sixth = drawn(RWKV6(3, 4), index=layer, layers=4)["time_decay"].flatten()
        for h in range(12):
            along = (h / 11) ** (0.7 + 1.3 * layer / 3)
            assert float(found["time_decay"][h]) == pytest.approx(-5 + 8 * along, rel=1e-6)
            assert float(fifth[h]) == pytest.approx(-6 + 5 * along, rel=1e-6)
            zigzag = ((h + 1) % 3 - 1) * 0.5
            assert float(found["bonus"][h]) == pytest.approx(math.log(0.3) + zigzag, rel=1e-6)
        assert torch.equal(fifth, sixth)
    config = Place(PartConfig("m", {}))
    assert published_initial(RWKV5(3, 4, shared=True), config) is None


def test_mlstms_gates():
    mixer = MLSTM(heads=4, state_size=2, head_width=2, soft_cap=15.0)
    assert drawn(mixer)["gate_bias"].tolist() == [3, 4, 5, 6]
    fused = drawn(replace(mixer, fused=True))["gate_bias"].tolist()
    assert fused == [-10, -10, -10, -10, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"time_step_min": 0.5}, "time_step_min and dt_max"),
        ({"linear_dt_min": 0.0, "linear_dt_max": 1.0}, "linear_dt_min and linear_dt_max"),
    ],
)
def test_bounds_without_sense_are_refused_by_name(config, names):
    with pytest.raises(MalformedError, match="no initial values") as caught:
        drawn(MAMBA2, config)
    assert caught.value.hint == f"{names} of the config"


def without_limit(name):
    """The family, with its steps not clamped."""
    family = BY_NAME[name]
    config = {key: value for key, value in family.config.items() if key != "time_step_limit"}
    return Family(family.model_type, family.kinds, config, tokens=family.tokens)


@pytest.mark.parametrize("name", FORGETFUL)
def test_a_control_of_a_hybrid_remembers_more_than_a_token(name, tmp_path):
    folder = without_limit(name).write(tmp_path / "model")
    with sk.open_checkpoint(str(folder)) as model:
        runnable = model.load()
        randomize(runnable, model.layers, "all", seed=1)
        state = runnable.model.state_dict()
        for layer in (layer for layer in model.layers if layer.weights_tensors):
            bias = layer.parameters["step_bias"].removeprefix(f"{layer.file_path or layer.path}.")
            found = steps(state[f"{layer.path}.{bias}"].double())
            assert 1e-3 * 0.999 <= float(found.min()) <= float(found.max()) <= 0.1 * 1.001
        np.save(tmp_path / "ids.npy", BY_NAME[name].token_ids().numpy())
        source = TokenOptions(tokens=tmp_path / "ids.npy", seq_len=24)
        for mode, given in (("weights", None), ("data", source)):
            run = sk.analyze(model, mode=mode, source=given, randomize="all", seed=1)
            rows = run.table("spectrum_summary").to_pylist()
            recurrent = [layer.index for layer in model.layers if layer.weights_tensors]
            medians = [
                row["timescale_q50"]
                for row in rows
                if row["head"] is None and row["layer"] in recurrent
            ]
            assert len(medians) == len(recurrent)
            assert min(medians) > 1


@pytest.mark.parametrize("name", ["bamba", "jamba", "qwen3_next"])
def test_all_else_is_the_classs_own(name, tmp_path):
    with sk.open_checkpoint(str(BY_NAME[name].write(tmp_path / "model"))) as model:
        runnable = model.load()
        randomize(runnable, model.layers, "all", seed=3)
        torch.manual_seed(3)
        expected = type(runnable.model)(runnable.model.config).state_dict()
        found = runnable.model.state_dict()
    other = {name.rpartition(".mamba.")[2] for name in found if differs(found, expected, name)}
    assert {name.rpartition("linear_attn.")[2] for name in other} == {
        "bamba": {"A_log", "dt_bias", "conv1d.weight", "conv1d.bias"},
        # A_log and D are the class's as well
        "jamba": {"dt_proj.weight", "dt_proj.bias", "conv1d.weight", "conv1d.bias"},
        "qwen3_next": {"A_log", "dt_bias"},
    }[name]


def differs(found, expected, name):
    return not torch.equal(found[name], expected[name])


@pytest.mark.parametrize(
    "name", ["mamba", "mamba2", "jamba", "zamba", "falcon_h1", "qwen3_next", "olmo_hybrid",
             "kimi_linear", "glm5_next_text", "bailing_hybrid", "recurrent_gemma", "rwkv", "xlstm"]
)  # fmt: skip
def test_both_modes_have_the_same_weights(name, tmp_path):
    with sk.open_checkpoint(str(BY_NAME[name].write(tmp_path / "model"))) as model:
        runnable = model.load()
        randomize(runnable, model.layers, "mixers", seed=5)
        found = runnable.model.state_dict()
        untrained, other = Untrained(model, 5), Untrained(model, 6)
        changed = 0
        for layer in model.layers:
            tensors = untrained.tensors(layer)
            assert set(tensors) == set(layer.weights_tensors)
            inside = [name for name in found if name.startswith(f"{layer.path}.")]
            for file_name, values in tensors.items():
                # Files leave modules between the layer's and the parameter out.
                last = file_name.removeprefix(f"{layer.file_path or layer.path}.")
                (same,) = (name for name in inside if name.endswith(f".{last}"))
                assert torch.equal(found[same], values)
                changed += not torch.equal(values, other.tensors(layer)[file_name])
        assert (changed > 0) == (name not in {"rwkv", "xlstm"})  # which draw nothing


def test_a_models_own_library_has_the_same_weights_in_both_modes(tmp_path):
    with sk.open_checkpoint(str(write_random_mamba_ssm(tmp_path, **CONFIG))) as model:
        runnable = model.load()
        randomize(runnable, model.layers, "all", seed=2)
        untrained = Untrained(model, 2)
        for layer in model.layers:
            for name, values in untrained.tensors(layer).items():
                assert torch.equal(runnable.weights[name], values)
        record = initial_record(model, "all")
    assert record["mamba"] == {"scheme": "library", "source": "github.com/state-spaces/mamba"}


def test_a_run_says_how_it_was_drawn(tmp_path, caplog):
    with sk.open_checkpoint(str(BY_NAME["jamba"].write(tmp_path / "model"))) as model:
        run = sk.analyze(model, mode="weights", randomize="mixers", out=tmp_path / "run")
        trained = sk.analyze(model, mode="weights")
    assert not caplog.records
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert recorded["spec"]["randomize"] == "mixers"
    assert recorded["remarks"]["initial"] == {
        "mamba": {
            "scheme": "published",
            "draws": "steps log-uniform in [0.001, 0.1]; A = 1 ... 4",
            "source": "github.com/state-spaces/mamba",
        },
        "softmax_attention": {"scheme": "class"},
    }
    assert run.manifest.revision.startswith("random-mixers-0-")
    assert sum(run.table("layers")["bytes_read"].to_pylist()) == 0
    assert trained.manifest.spec["randomize"] is None
    assert "initial" not in trained.manifest.remarks


def test_layers_of_which_only_the_class_is_known_are_warned_of(tmp_path, caplog):
    with sk.open_checkpoint(str(BY_NAME["lfm2"].write(tmp_path / "model"))) as model:
        with caplog.at_level(logging.WARNING, "spectrakit"):
            record = initial_record(model, "all")
        assert record["short_convolution"]["scheme"] == "class"
        assert "not known here" in record["short_convolution"]["warning"]
        assert "warning" not in record["softmax_attention"]
        (warning,) = caplog.messages
        assert warning.startswith("short_convolution: how it started is not known here")
        assert initial_record(model, "mlps") == {}
        with pytest.raises(UnsupportedError, match="how it was initialised is not known") as caught:
            sk.analyze(model, mode="weights", randomize="all")
        assert caught.value.hint == "mode='data'"
        with pytest.raises(UsageError, match="no MLP") as refused:
            sk.analyze(model, mode="weights", randomize="mlps")
        assert refused.value.hint == "mode='data'"


def test_attention_has_no_published_decays():
    assert published_initial(SoftmaxAttention(4), Place(PartConfig("m", {}))) is None
