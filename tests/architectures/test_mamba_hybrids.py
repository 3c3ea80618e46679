"""Hybrids of Mamba with attention: their mixers written out, their configs old and new."""

from __future__ import annotations

import json
import math
import shutil
from itertools import pairwise

import mpmath
import pytest
import torch

import spectrakit as sk
from spectrakit.errors import MalformedError
from spectrakit.mixers import Mamba, Mamba2
from tests.families.base import observe
from tests.families.mamba_hybrids import FAMILIES


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return family.write(tmp_path_factory.mktemp("hybrids") / str(family))


@pytest.fixture(scope="module")
def model(folder):
    with sk.open_checkpoint(str(folder)) as opened:
        yield opened


def family_folder(name, tmp_path):
    (family,) = (family for family in FAMILIES if str(family) == name)
    return family.write(tmp_path / name)


def mamba_layers(model):
    return [layer for layer in model.layers if isinstance(layer.mixer, Mamba | Mamba2)]


def parameters(model, layer):
    names = {role: layer.parameters[role] for role in layer.mixer.shapes()}
    tensors = model.checkpoint.read(names.values())
    return {role: tensors[name] for role, name in names.items()}


def changed(folder, tmp_path, config):
    """A copy of a checkpoint with `config` merged in; the keys that are `...` left out."""
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "config.json").read_text()) | config
    settings = {key: value for key, value in settings.items() if value is not ...}
    (copy / "config.json").write_text(json.dumps(settings))
    return str(copy)


def test_every_mixer_written_out_is_the_module(family, model):
    """From the file's own tensors and the module's input to the module's output."""
    runnable = model.architecture.load(model.checkpoint, "cpu")
    calls = {}
    for layer in mamba_layers(model):
        runnable.model.get_submodule(layer.path).register_forward_hook(
            lambda _, args, kwargs, output, index=layer.index: calls.update(
                {index: (kwargs.get("hidden_states", *args), output)}
            ),
            with_kwargs=True,
        )
    runnable.run(family.token_ids())
    assert sorted(calls) == [layer.index for layer in mamba_layers(model)]
    for layer in mamba_layers(model):
        hidden, output = calls[layer.index]
        found = layer.mixer.from_input(hidden, parameters(model, layer)).output()
        torch.testing.assert_close(found, output, rtol=1e-4, atol=1e-5)


def test_nominal_eigenvalues_are_the_closed_form(model):
    """With the step limits that the module of transformers itself holds."""
    runnable = model.architecture.load(model.checkpoint, "cpu")
    for layer in mamba_layers(model):
        module = runnable.model.get_submodule(layer.path)
        low, high = getattr(module, "time_step_limit", (0.0, math.inf))
        biases = [p for name, p in module.named_parameters()
                  if name in ("dt_bias", "dt_proj.bias", "dt_proj_bias")]  # fmt: skip
        bias = biases[0].flatten()
        a_log = module.A_log.reshape(bias.numel(), -1)
        recurrence = model.recurrence(layer.index)
        assert recurrence.mode == "nominal"
        found = recurrence.eigenvalues().log_modulus
        assert found.shape == a_log.shape
        with mpmath.workdps(30):
            for i in range(0, bias.numel(), 5):
                step = mpmath.log1p(mpmath.exp(float(bias[i])))
                step = min(max(step, low), high)
                for j in range(a_log.shape[1]):
                    exact = -step * mpmath.exp(float(a_log[i, j]))
                    assert float(found[i, j]) == pytest.approx(float(exact), rel=1e-12)


def test_steps_reach_the_limits(family, model):
    """What the families' configs are chosen for: the clamp is seen at work in data mode too."""
    limits = {layer.mixer.step_limit for layer in mamba_layers(model) if layer.kind == "mamba2"}
    for limit in limits - {(0.0, math.inf)}:
        steps = torch.cat([observation.recurrence.step.flatten()
                           for layer, observation in observe(model, family.token_ids())
                           if layer.kind == "mamba2"])  # fmt: skip
        for end in limit:
            assert math.isinf(end) or bool((steps == torch.tensor(end)).any())
        assert bool((steps > limit[0]).any())


def test_in_half_precision_decays_stay_in_single(family, model):
    runnable = model.architecture.load(model.checkpoint, "cpu", "bfloat16")
    seen = []
    runnable.run(family.token_ids(), lambda *pair: seen.append(pair))
    assert [layer for layer, _ in seen] == list(model.layers)
    for layer, observation in seen:
        assert observation.outputs.dtype in (torch.bfloat16, torch.float32)
        decay_rate = observation.recurrence.eigenvalues().decay_rate
        assert decay_rate.dtype in (torch.float32, torch.float64)
        if layer.kind != "softmax_attention":
            error = (observation.output() - observation.outputs).abs().max()
            assert error < 0.05 * observation.outputs.abs().max()


def test_weights_mode_reads_a_log_and_the_bias_of_the_step_only(model, monkeypatch):
    wanted = []
    read = model.checkpoint.read

    def recording(names):
        names = list(names)
        wanted.extend(names)
        return read(names)

    monkeypatch.setattr(model.checkpoint, "read", recording)
    sk.analyze(model, mode="weights")
    biases = ("dt_bias", "dt_proj.bias", "dt_proj_bias")
    assert wanted
    assert all(name.endswith(("A_log", *biases)) for name in wanted)
    assert len(wanted) == 2 * len(mamba_layers(model))


#: What published config.json files say where transformers 5 writes something else.
PUBLISHED = {
    "jamba": {"mamba_dt_rank": "auto", "use_mamba_kernels": True, "torch_dtype": "bfloat16"},
    "zamba": {"layers_block_type": ...},
    "zamba-listed": {"layers_block_type": ["mamba", "mamba", "hybrid", "mamba", "hybrid"]},
    "zamba2": {
        "layers_block_type": ["mamba", "hybrid", "hybrid", "mamba", "hybrid"],
    },
    "bamba": {"time_step_limit": [0.4, 0.8], "attn_rotary_emb": 4},
    "granitemoehybrid": {"layer_types": ["mamba", "attention", "mamba"], "time_step_limit": ...},
    "granitemoehybrid-alias": {
        "layer_types": ...,
        "layers_block_type": ["mamba", "attention", "mamba"],
    },
    "falcon_h1": {"mamba_d_head": 6, "mamba_use_mlp": True, "time_step_limit": [0.0, math.inf]},
    "nemotron_h": {
        "layers_block_type": ...,
        "hybrid_override_pattern": "M*-ME",
        "num_hidden_layers": 5,
    },
    "nemotron_h-older": {
        "layers_block_type": ["mamba", "attention", "mlp", "mamba", "moe"],
        "conv_kernel": ...,
        "mamba_d_conv": 4,
        "n_groups": ...,
        "mamba_n_groups": 2,
        "time_step_limit": ...,
        "mamba_dt_limit": [0.02, 0.04],
        "head_dim": ...,
        "attention_head_dim": 8,
    },
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_configs_make_the_same_layers(case, tmp_path):
    folder = family_folder(case.split("-")[0], tmp_path)
    with sk.open_checkpoint(str(folder)) as model:
        expected = model.layers
    with sk.open_checkpoint(changed(folder, tmp_path, PUBLISHED[case])) as model:
        assert model.layers == expected
        seen = [layer for layer, _ in observe(model, torch.arange(3, 19)[None])]
        assert tuple(seen) == expected  # and transformers makes the same of them


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("granitemoehybrid", {"layer_types": ["mamba", "mamba"]}, "of 2 blocks, and .* is 3"),
        ("granitemoehybrid", {"layer_types": ["mamba", "conv", "mamba"]}, "holds 'conv', which"),
        ("granitemoehybrid", {"layer_types": [["mamba"], 3]}, "which is no block"),
        ("granitemoehybrid", {"layer_types": "mamba"}, "of 1 blocks"),
        ("zamba", {"layers_block_type": ["m", "m", "g", "m", "g"]}, "holds 'm', which"),
        ("zamba2", {"layers_block_type": ["mamba"] * 4}, "of 4 blocks"),
        ("zamba2", {"layers_block_type": ...}, "of 54 blocks"),
        ("nemotron_h", {"layers_block_type": ..., "hybrid_override_pattern": "MX"}, "'MX', exp"),
        ("nemotron_h", {"layers_block_type": ..., "hybrid_override_pattern": ""}, "'', exp"),
        ("nemotron_h", {"layers_block_type": ["moe"] * 3}, "num_hidden_layers = 3, .* 5 layers"),
        ("falcon_h1", {"ssm_multipliers": [1.0, 2.0]}, "expected five numbers"),
        ("falcon_h1", {"ssm_multipliers": ["a"] * 5}, "expected five numbers"),
        ("bamba", {"attn_layer_indices": []}, r"layer 1: model.layers.1.mamba.A_log"),
        ("jamba", {"attn_layer_offset": 2}, r"layer 1: model.layers.1.mamba.A_log"),
    ],
)
def test_configs_that_make_no_sense(name, config, message, tmp_path):
    folder = family_folder(name, tmp_path)
    with (
        sk.open_checkpoint(changed(folder, tmp_path, config)) as model,
        pytest.raises(MalformedError, match=message),
    ):
        model.layers  # noqa: B018


def test_zamba2_s_default_blocks_are_those_of_its_config_class():
    from transformers import Zamba2Config, ZambaConfig

    from spectrakit.architectures.transformers_family import PartConfig
    from spectrakit.architectures.transformers_zamba import TransformersZamba, TransformersZamba2

    for architecture, config_class in (
        (TransformersZamba, ZambaConfig),
        (TransformersZamba2, Zamba2Config),
    ):
        blocks = architecture().blocks(PartConfig("default", {}))
        kinds = ["hybrid" if len(block) == 2 else "linear_attention" for block in blocks]
        assert kinds == config_class().layers_block_type


@pytest.mark.parametrize("name", ["zamba", "zamba2"])
def test_a_shared_transformer_is_a_layer_at_every_depth(name, tmp_path):
    folder = family_folder(name, tmp_path)
    (family,) = (family for family in FAMILIES if str(family) == name)
    with sk.open_checkpoint(str(folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        attentions = [layer for layer in model.layers if layer.kind == "softmax_attention"]
        weights = [
            runnable.model.get_submodule(layer.path).o_proj.weight.data_ptr()
            for layer in attentions
        ]
        # One set of weights, or two in turn ...
        assert weights == ([weights[0]] * 2 if name == "zamba" else [*weights[:2], weights[0]])
        decays = [
            observation.recurrence.eigenvalues().decay_rate
            for layer, observation in observe(model, family.token_ids())
            if layer in attentions
        ]
        # ... and at every depth attention to something else.
        assert len(decays) == len(attentions)
        for one, other in pairwise(decays):
            assert (one - other).abs()[:, 1:].max() > 1e-2


def test_nemotron_s_predicted_tokens_are_no_part_of_the_model(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = family_folder("nemotron_h", tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["mtp.layers.0.mixer.q_proj.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with sk.open_checkpoint(changed(folder, tmp_path, {"num_nextn_predict_layers": 1})) as model:
        assert len(model.layers) == 3
        seen = observe(model, torch.arange(3, 19)[None])
    assert [layer.index for layer, _ in seen] == [0, 1, 2]
