"""What is said of transformers' ports is what the installed transformers does."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from spectrakit.architectures.equations import departures
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.mixers import LightningAttention
from spectrakit.plugins import plugins
from tests.families import FAMILIES

DECLARED = {
    (model_type, departure.what): departure
    for entry in plugins().register().architectures.things.values()
    if entry.origin.distribution == "spectrakit"
    for departure in departures(entry.thing)
    for model_type in departure.model_types
}
_STEP, _SCALE = "the limit of the step", "`out_proj` under `rescale_prenorm_residual`"


def ported(model_type, tmp_path, config=()):
    """The family as transformers itself loads it, and the weights of its file."""
    from transformers import AutoModelForCausalLM

    family = next(family for family in FAMILIES if family.model_type == model_type)
    folder = family.write(tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text()) | dict(config)
    (folder / "config.json").write_text(json.dumps(settings))
    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, load_file(folder / "model.safetensors")


@pytest.mark.parametrize("model_type", ["nemotron_h", "zamba2"])
def test_the_port_has_a_floor_and_no_ceiling(model_type, tmp_path):
    config = {"time_step_limit": [0.0, 0.1], "time_step_min": 0.001}
    model, _ = ported(model_type, tmp_path, config)
    limits = {m.time_step_limit for m in model.modules() if hasattr(m, "time_step_limit")}
    assert limits == {(0.001, math.inf)}
    matters = DECLARED[model_type, _STEP].matters
    assert matters(config)
    assert not matters({"time_step_limit": [0.001, math.inf], "time_step_min": 0.001})


@pytest.mark.parametrize("model_type", ["mamba", "falcon_mamba", "mamba2"])
def test_the_port_rescales_what_it_loads(model_type, tmp_path):
    model, stored = ported(model_type, tmp_path, {"rescale_prenorm_residual": True})
    name = "backbone.layers.0.mixer.out_proj.weight"
    scale = 1 / math.sqrt(model.config.num_hidden_layers)
    torch.testing.assert_close(model.state_dict()[name], scale * stored[name])
    assert (model_type, _SCALE) in DECLARED


def test_the_port_does_not_look_at_the_bound_of_the_gate(tmp_path):
    section = {"num_heads": 4, "head_dim": 8}
    gates = []
    for bound in (None, -0.1):
        config = {"linear_attn_config": section | {"gate_lower_bound": bound}}
        model, _ = ported("kimi_linear", tmp_path / str(bound), config)
        (gate,) = (m for name, m in model.named_modules() if name.endswith("forget_gate"))
        gates.append(gate(torch.ones(1, 2, model.config.hidden_size)))
    assert torch.equal(*gates)
    assert gates[0].min() < -0.1


def test_the_port_halves_the_stream(tmp_path):
    stored = "rwkv.blocks.1.attention.output.weight"
    model, weights = ported("rwkv", tmp_path, {"rescale_every": 1})
    with torch.no_grad():
        model(torch.ones(1, 3, dtype=torch.long), use_cache=False)
    torch.testing.assert_close(model.state_dict()[stored], weights[stored] / 2)


def published_slope(head, layer, heads, layers):
    """MiniMax's own, where the number of heads is a power of two."""
    return 2 ** (-8 * (head + 1) / heads) * (1 - layer / (layers - 1) + 1e-5)


def test_slopes_of_minimax_text_01_hardly_differ():
    lightning = [layer for layer in range(80) if layer % 8 != 7]
    for layer in lightning:
        mixer = LightningAttention(64, 128, 128, layer, 80)
        found = -mixer.from_weights({}).eigenvalues().log_modulus.flatten()
        for head in (0, 31, 63):
            expected = published_slope(head, layer, 64, 80)
            assert float(found[head]) == pytest.approx(expected, rel=1e-5)


def test_every_departure_is_checked_or_is_not_of_transformers():
    checked = {("nemotron_h", _STEP), ("zamba2", _STEP)}
    checked |= {(model_type, _SCALE) for model_type in ("mamba", "falcon_mamba", "mamba2")}
    checked |= {
        ("kimi_linear", "the gate under `linear_attn_config.gate_lower_bound`"),
        ("rwkv", "the residual stream"),
        ("minimax", "the slopes of Lightning attention"),
    }
    files = {key for key in DECLARED if key[0].startswith("RWKV-") or key[0] == "rwkv5"}
    assert DECLARED.keys() == checked | files
