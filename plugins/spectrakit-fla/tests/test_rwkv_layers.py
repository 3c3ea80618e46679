"""RWKV-6 and RWKV-7 of fla: later layers, options, and what is around the mixers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from spectrakit_fla.examples import rwkv, rwkv_references
from spectrakit_fla.rwkv_families import RWKV_FAMILIES

import spectrakit as sk
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.architectures.written_out import ForwardPass
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.testing import random_parameters

EXAMPLES = {example.name.removesuffix(" layer"): example for example in rwkv.LAYERS}
MODELS = {example.name: example for example in rwkv.MODELS}
MIXERS = {family.model_type: family.mixer for family in RWKV_FAMILIES}


def written(folder, name, drop=(), **config):
    """The example called `name`, with some of its config changed and some tensors left out."""
    path = MODELS[name].write(folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    tensors = load_file(folder / "model.safetensors")
    kept = {n: t for n, t in tensors.items() if not n.endswith(tuple(drop))} if drop else tensors
    save_file(kept, folder / "model.safetensors")
    return folder


def final_states(folder):
    """What the language head would read."""
    with sk.open_checkpoint(str(folder)) as model, torch.no_grad():
        loaded = model.architecture.load(model.checkpoint, "cpu")
        return loaded.hidden_states(MODELS["rwkv6"].tokens, ForwardPass(loaded))


@pytest.mark.parametrize("fused", [True, False])
def test_a_later_layer_of_rwkv7_takes_some_of_the_first_ones_values(fused):
    example = EXAMPLES["rwkv7"]
    mixer = replace(example.mixer, value_rank=9, fused=fused)
    p = random_parameters(mixer, seed=4)
    values = torch.randn(*example.hidden.shape[:2], 8, dtype=torch.float64)
    p |= {"first_value": values}
    expected = rwkv_references.rwkv7(mixer, example.hidden, p)
    torch.testing.assert_close(mixer.from_input(example.hidden, p).output(), expected)
    others = mixer.from_input(example.hidden, p | {"first_value": -values}).output()
    assert float((others - expected).abs().max()) > 0.1


def test_the_first_layers_values_reach_the_others(tmp_path):
    """Without its own product the later layer would be the first one again."""
    folder = written(tmp_path, "rwkv7")
    tensors = load_file(folder / "model.safetensors")
    seen = {}
    for bias in (-40.0, 40.0):  # all its own, all the first one's
        tensors["model.layers.1.attn.v_lora.lora.2.bias"].fill_(bias)
        save_file(tensors, folder / "model.safetensors")
        with sk.open_checkpoint(str(folder)) as model:
            loaded = model.architecture.load(model.checkpoint, "cpu")
            inputs = []
            loaded.run(MODELS["rwkv7"].tokens, lambda _, o, kept=inputs: kept.append(o.inputs))
            seen[bias] = inputs
    first, later = seen[40.0]
    torch.testing.assert_close(later, first)
    assert float((seen[-40.0][1] - first).abs().max()) > 0.1


def test_the_first_files_of_rwkv7_have_one_tensor_for_all_mixes(tmp_path):
    folder = written(tmp_path, "rwkv7")
    expected = final_states(folder)
    tensors = load_file(folder / "model.safetensors")
    for layer in range(2):
        path = f"model.layers.{layer}.attn.x_"
        rows = [tensors.pop(path + letter).flatten() for letter in "rwkvag"]
        tensors[f"{path}x"] = torch.stack(rows)
    save_file(tensors, folder / "model.safetensors")
    assert torch.equal(final_states(folder), expected)
    tensors["model.layers.1.attn.x_x"] = tensors["model.layers.1.attn.x_x"][:5].clone()
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(MalformedError, match=r"attn\.x_x has shape"):
        final_states(folder)


def test_norms_may_have_no_bias_and_the_first_may_be_left_out(tmp_path):
    written(tmp_path / "whole", "rwkv6")
    bias = ("model.norm.bias", "pre_norm.bias", "attn_norm.bias", "ffn_norm.bias")
    plain = written(tmp_path / "plain", "rwkv6", bias, norm_bias=False)
    first = written(
        tmp_path / "first", "rwkv6", ("pre_norm.weight", "pre_norm.bias"), norm_first=False
    )
    states = [final_states(folder) for folder in (tmp_path / "whole", plain, first)]
    assert all(bool(state.isfinite().all()) for state in states)
    assert not torch.allclose(states[0], states[1])
    assert not torch.allclose(states[0], states[2])


@pytest.mark.parametrize(
    ("name", "config", "error", "says"),
    [
        ("rwkv6", {"hidden_act": "swish"}, UnsupportedError, "hidden_act"),
        ("rwkv6", {"expand_k": 0.6}, MalformedError, "keys"),
        ("rwkv7", {"attn": {"layers": [1], "num_heads": 2}}, UnsupportedError, "attn"),
        ("rwkv7", {"value_dim": [24]}, MalformedError, "value_dim"),
        ("rwkv7", {"head_dim": 5}, MalformedError, "head_dim"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, name, config, error, says):
    folder = written(tmp_path, name, **config)
    with pytest.raises(error, match=says), sk.open_checkpoint(str(folder)) as model:
        assert model.layers


def test_ranks_that_a_config_leaves_out_or_open_are_flas_own():
    default = MIXERS["rwkv7"](PartConfig("a config", {}), 1)
    ranks = (default.decay_rank, default.rate_rank, default.value_rank, default.gate_rank)
    assert ranks == (64, 64, 16, 128)
    assert (default.heads, default.state_size, default.head_width) == (32, 64, 64)
    keys = [f"{letter}_low_rank_dim" for letter in ("decay", "a", "v", "gate")]
    opened = MIXERS["rwkv7"](PartConfig("a config", dict.fromkeys(keys)), 1)
    ranks = (opened.decay_rank, opened.rate_rank, opened.value_rank, opened.gate_rank)
    assert ranks == (128, 128, 64, 224)  # 2.5, 2.5, 1.7 and 5 roots of 2048, to multiples of 32
    by_heads = PartConfig("a config", {"head_dim": None, "num_heads": 16, "value_dim": 4096})
    told = MIXERS["rwkv7"](by_heads, 0)
    assert (told.heads, told.state_size, told.head_width, told.value_rank) == (16, 128, 256, None)
