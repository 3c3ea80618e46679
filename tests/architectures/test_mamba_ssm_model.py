"""Hybrids of the mamba_ssm library: against Bamba in transformers, and written out naively."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import spectrakit as sk
from spectrakit.architectures.mamba_ssm_files import backbone
from spectrakit.architectures.mamba_ssm_model import MambaSSMModel, load_mamba_ssm_model
from spectrakit.architectures.written_out import ForwardPass
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.mixers import Mamba, Mamba2
from spectrakit.token_options import TokenOptions
from tests.families.base import VOCABULARY, Family, observe
from tests.mixers import test_mamba, test_mamba2
from tests.mixers.test_convolved_attention import naive_attention
from tests.support.mamba_ssm_files import (
    write_bamba_as_mamba_ssm,
    write_mamba_ssm,
    write_random_mamba_ssm,
)

BAMBA = Family(
    "bamba",
    (),
    {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "attn_layer_indices": [1, 3],
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "mamba_d_state": 4,
        "mamba_n_heads": 8,
        "mamba_n_groups": 2,
        "mamba_chunk_size": 8,
    },
)
ATTENTION = {"causal": True, "num_heads": 4, "num_heads_kv": 2, "head_dim": 6}


def token_ids(batch=2, tokens=20):
    return torch.randint(0, VOCABULARY, (batch, tokens), generator=torch.Generator().manual_seed(1))


def last_states(model, tokens):
    """What the language head would read."""
    with torch.no_grad():
        return model.hidden_states(tokens, ForwardPass(model))


@pytest.fixture(scope="module")
def bamba_folder(tmp_path_factory):
    return BAMBA.write(tmp_path_factory.mktemp("bamba") / "model")


@pytest.fixture(scope="module")
def hybrid_folder(bamba_folder, tmp_path_factory):
    return write_bamba_as_mamba_ssm(bamba_folder, tmp_path_factory.mktemp("hybrid") / "model")


def write_random(folder, **config):
    """A hybrid of three layers with the options of `config`."""
    config = {"attn_layer_idx": [1], "attn_cfg": ATTENTION} | config
    return write_random_mamba_ssm(folder, d_model=16, n_layer=3, vocab_size=VOCABULARY, **config)


def test_a_hybrid_has_the_hidden_states_of_the_same_bamba(bamba_folder, hybrid_folder):
    from transformers import AutoModelForCausalLM

    from spectrakit.architectures.transformers_model import quiet_transformers

    with quiet_transformers(), torch.no_grad():
        bamba = AutoModelForCausalLM.from_pretrained(bamba_folder, dtype=torch.float32).eval()
        expected = bamba.model(token_ids(), use_cache=False).last_hidden_state
    with sk.open_checkpoint(str(hybrid_folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        assert isinstance(runnable, MambaSSMModel)
        found = last_states(runnable, token_ids())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_hybrid_shows_the_recurrences_of_the_same_bamba(bamba_folder, hybrid_folder):
    with sk.open_checkpoint(str(bamba_folder)) as model:
        expected = observe(model, token_ids())
    with sk.open_checkpoint(str(hybrid_folder)) as model:
        found = observe(model, token_ids())
        assert [layer.kind for layer in model.layers] == ["mamba2", "softmax_attention"] * 2
        assert tuple(layer for layer, _ in found) == model.layers
    for (_, one), (_, other) in zip(found, expected, strict=True):
        torch.testing.assert_close(
            one.recurrence.eigenvalues().decay_rate,
            other.recurrence.eigenvalues().decay_rate,
            rtol=1e-3,
            atol=1e-4,
            check_dtype=False,
        )
        torch.testing.assert_close(one.output(), one.outputs, rtol=1e-4, atol=1e-5)


def naive_model(model, weights, tokens):
    """The blocks in float64, each mixer with all pairs of tokens written out."""
    config = model.checkpoint.config

    def normed(x, name):
        weight = weights[f"{name}.weight"]
        if config.get("rms_norm", True):
            return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-5) * weight
        return functional.layer_norm(x, weight.shape, weight, weights[f"{name}.bias"], 1e-5)

    hidden = weights["backbone.embedding.weight"][tokens]
    for layer in model.layers:
        block = f"backbone.layers.{layer.index}"
        p = {role: weights[layer.parameters[role]] for role in layer.mixer.shapes()}
        written_out = {Mamba: test_mamba.quadratic_form, Mamba2: test_mamba2.quadratic_form}
        mix = written_out.get(type(layer.mixer), naive_attention)
        hidden = hidden + mix(layer.mixer, normed(hidden, f"{block}.norm"), p)
        if config.get("d_intermediate"):
            inner = normed(hidden, f"{block}.norm2") @ weights[f"{block}.mlp.fc1.weight"].T
            x, gate = inner.chunk(2, -1)
            hidden = hidden + x * gate * gate.sigmoid() @ weights[f"{block}.mlp.fc2.weight"].T
    return normed(hidden, "backbone.norm_f")


@pytest.mark.parametrize(
    "config",
    [
        {"ssm_cfg": {"layer": "Mamba2", "headdim": 8, "d_state": 4}},
        {"ssm_cfg": {"layer": "Mamba2", "headdim": 8, "d_state": 4}, "rms_norm": False},
        {"ssm_cfg": {"d_state": 4}, "d_intermediate": 100},
        {"ssm_cfg": {}, "attn_layer_idx": [], "rms_norm": False},
        {"attn_layer_idx": [0, 1, 2], "attn_cfg": ATTENTION | {"d_conv": 4, "rotary_emb_dim": 4}},
        {"attn_cfg": {"causal": True, "num_heads": 2, "softmax_scale": 0.2, "rotary_emb_dim": 8,
                      "rotary_emb_base": 100.0, "rotary_emb_interleaved": True}},
    ],
    ids=["mamba2", "layer-norm", "mlp", "no-attention", "all-attention", "one-head-width"],
)  # fmt: skip
def test_every_option_is_the_model_written_out(config, tmp_path):
    folder = write_random(tmp_path / "model", **config)
    with sk.open_checkpoint(str(folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu", "float64")
        assert isinstance(runnable, MambaSSMModel)
        expected = naive_model(model, runnable.weights, token_ids(1, 11))
        found = last_states(runnable, token_ids(1, 11))
    # The scans of transformers work in float32 whatever they are given.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"rmsnorm": False}, {"norm_before_gate": True}])
def test_gates_that_transformers_has_not(options, tmp_path):
    ssm = {"layer": "Mamba2", "headdim": 8, "d_state": 4, "ngroups": 2} | options
    folder = write_random(tmp_path / "model", ssm_cfg=ssm, attn_layer_idx=[])
    with sk.open_checkpoint(str(folder)) as model:
        seen = observe(model, token_ids())
        p = model.checkpoint.read(model.checkpoint.tensors)
        layer, observation = seen[0]
        # From y to the output: silu(z) and the norm in the order that the options say.
        hidden = functional.rms_norm(p["backbone.embedding.weight"][token_ids()], (16,),
                                     p["backbone.layers.0.norm.weight"], 1e-5)  # fmt: skip
        z = (hidden @ p[f"{layer.path}.in_proj.weight"].T)[..., :32]
        y = observation.recurrence.run(observation.inputs).flatten(-2)
        if "rmsnorm" not in options:
            grouped = functional.rms_norm(y.unflatten(-1, (2, 16)), (16,), None, 1e-5)
            y = grouped.flatten(-2) * p[f"{layer.path}.norm.weight"]
        expected = y * functional.silu(z) @ p[f"{layer.path}.out_proj.weight"].T
    torch.testing.assert_close(observation.outputs, expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_transformers_has_runs_alike(tiny_folder, tmp_path):
    """The bundled models by their mixers' own equations, against transformers' model of them."""
    original = write_mamba_ssm(tiny_folder, tmp_path / "original")
    with sk.open_checkpoint(str(original)) as model:
        tokens = token_ids(1, 40)
        ours = load_mamba_ssm_model(
            model.checkpoint, model.layers, backbone(model.checkpoint), "cpu", "float32"
        )
        theirs = model.architecture.load(model.checkpoint, "cpu").model
        with torch.no_grad():
            expected = theirs.base_model(tokens, use_cache=False)[0]
        torch.testing.assert_close(last_states(ours, tokens), expected, rtol=1e-4, atol=1e-4)


def test_in_half_precision_decays_stay_in_single(hybrid_folder):
    with sk.open_checkpoint(str(hybrid_folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu", "bfloat16")
        seen = []
        runnable.run(token_ids(), lambda _, observation: seen.append(observation))
    for observation in seen:
        log_decay = observation.recurrence.operator.log_decay
        assert log_decay.dtype in (torch.float32, torch.float64)
        assert observation.outputs.dtype == torch.bfloat16
        assert observation.output().shape == observation.outputs.shape


def test_both_modes_of_a_hybrid(hybrid_folder, tmp_path):
    weights = sk.analyze(str(hybrid_folder)).table("layers").to_pylist()
    assert [row["status"] for row in weights if row["kind"] == "mamba2"] == ["analysed"] * 2
    np.save(tmp_path / "ids.npy", token_ids().numpy())
    options = TokenOptions(tokens=tmp_path / "ids.npy", batch_size=2, seq_len=20)
    data = sk.analyze(str(hybrid_folder), mode="data", source=options)
    assert [row["status"] for row in data.table("layers").to_pylist()] == ["analysed"] * 4


def test_padding_before_the_text_is_refused_and_after_it_changes_nothing(hybrid_folder):
    tokens = token_ids()
    valid = torch.ones_like(tokens, dtype=torch.bool)
    with sk.open_checkpoint(str(hybrid_folder)) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        valid[0, -3:] = False
        runnable.run(tokens, valid=valid)
        with pytest.raises(UnsupportedError, match="no padding before the text"):
            runnable.run(tokens, valid=valid.flip(1))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"attn_cfg": {"num_heads": 4}}, "attention that is not causal"),
        ({"attn_cfg": {"num_heads": 4, "causal": True, "mlp_dim": 8}}, "an MLP inside"),
    ],
)
def test_attention_that_is_no_recurrence_is_listed_with_the_reason(
    config, reason, bamba_folder, tmp_path
):
    folder = write_bamba_as_mamba_ssm(bamba_folder, tmp_path / "model", **config)
    with sk.open_checkpoint(str(folder)) as model:
        assert [layer.mixer is None for layer in model.layers] == [False, True] * 2
        assert reason in model.layers[1].reason
        with pytest.raises(UnsupportedError, match=f"layer 1: .*{reason}"):
            model.architecture.load(model.checkpoint, "cpu")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"d_intermediate": 0}, "has no place for backbone.layers.0.mlp.fc1.weight"),
        ({"d_intermediate": 200}, "another shape of backbone.layers.0.mlp.fc1.weight"),
        ({"rms_norm": False}, "lack backbone.layers.0.norm.bias"),
        ({"vocab_size": 77}, "another shape of backbone.embedding.weight"),
        ({"attn_layer_idx": [1]}, r"layers.3.mixer.A_log \(A_log\) is not in the weights"),
        ({"attn_cfg": {"causal": True}}, "num_heads is None"),
        ({"attn_cfg": {"causal": True, "num_heads": 4, "d_conv": "4"}}, "d_conv is '4'"),
        ({"attn_cfg": {"causal": True, "num_heads": 8}}, "in_proj.weight has shape"),
    ],
)
def test_a_config_that_disagrees_with_the_weights(config, message, bamba_folder, tmp_path):
    folder = write_bamba_as_mamba_ssm(bamba_folder, tmp_path / "model", **config)
    with (
        sk.open_checkpoint(str(folder)) as model,
        pytest.raises(MalformedError, match=message),
    ):
        model.architecture.load(model.checkpoint, "cpu")
