"""The same RWKV-4 in transformers' names and in the project's own: both routes show the same.

One of random weights is always there. A trained one of 660K parameters is opt-in, as its weights
are not part of this repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import spectrakit as sk
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.token_options import TokenOptions
from spectrakit.tokens import bundled_text

NAME = "rwkv4-tiny-660k-hf"
TOKENS = 192
#: Parts of transformers' names, and of the project's.
OFFICIAL = (
    ("rwkv.", ""),
    ("embeddings.", "emb."),
    (".attention.", ".att."),
    (".feed_forward.", ".ffn."),
    (".pre_ln.", ".ln0."),
    ("time_mix_key", "time_mix_k"),
    ("time_mix_value", "time_mix_v"),
    ("time_mix_receptance", "time_mix_r"),
)


def trained():
    """The folder of the trained model."""
    folder = Path(os.environ.get("SPECTRAKIT_TEST_CHECKPOINTS", "")) / NAME
    if not folder.is_dir():
        pytest.skip(f"SPECTRAKIT_TEST_CHECKPOINTS names no folder that holds {NAME}")
    return folder


def write_random(folder):
    """A model of transformers, every weight off its initial value: 4 blocks of 24 channels."""
    from transformers import RwkvConfig, RwkvForCausalLM

    config = RwkvConfig(vocab_size=256, hidden_size=24, num_hidden_layers=4, context_length=TOKENS)
    generator = torch.Generator().manual_seed(0)
    with quiet_transformers(), torch.no_grad():
        model = RwkvForCausalLM(config)
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
        model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["random", "trained"])
def models(request, tmp_path_factory):
    """The same weights, run by transformers and by this plugin."""
    random = request.param == "random"
    folder = write_random(tmp_path_factory.mktemp("random")) if random else trained()
    tensors = load_file(folder / "model.safetensors")
    for theirs, official in OFFICIAL:
        tensors = {name.replace(theirs, official): value for name, value in tensors.items()}
    path = tmp_path_factory.mktemp("official") / "rwkv4.pth"
    torch.save(tensors, path)
    with sk.open_checkpoint(str(folder)) as theirs, sk.open_checkpoint(str(path)) as ours:
        assert theirs.architecture.name == "transformers-rwkv"
        assert ours.architecture.name == "rwkv-files"
        yield theirs, ours


@pytest.fixture(scope="module")
def text():
    return np.frombuffer(bundled_text().encode()[:TOKENS], np.uint8).astype(np.int64)[None]


@pytest.mark.parametrize("mode", ["weights", "data"])
def test_every_eigenvalue_is_the_same(models, text, mode, tmp_path):
    np.save(tmp_path / "ids.npy", text)
    options = TokenOptions(tokens=tmp_path / "ids.npy", batch_size=1, seq_len=TOKENS)
    source = options if mode == "data" else None
    theirs, ours = (
        sk.analyze(model, mode=mode, source=source)
        .table("spectrum")
        .drop_columns(["model_id", "revision"])
        .to_pylist()
        for model in models
    )
    assert len(ours) == sum(layer.channels for layer in models[0].layers) > 0
    assert ours == theirs


def test_every_layer_gives_the_same(models, text):
    theirs, ours = (model.architecture.load(model.checkpoint, "cpu") for model in models)
    outputs = {"theirs": [], "ours": []}
    streams = {"theirs": [], "ours": []}
    eigenvalues = {"theirs": [], "ours": []}

    def watch(whose, runnable):
        def on_layer(layer, observation):
            # With the normaliser in it, A depends on every token.
            gauged = observation.recurrence.in_gauge("dsf")
            eigenvalues[whose].append(gauged.eigenvalues().log_modulus[:, 2:])
            if whose == "ours":
                outputs[whose].append(observation.outputs)

        def on_states(depth, states):
            streams[whose].append(states)

        runnable.run(torch.from_numpy(text), on_layer, on_states=on_states)

    for block in theirs.model.get_submodule("rwkv.blocks"):
        block.attention.register_forward_hook(
            lambda module, inputs, output: outputs["theirs"].append(output[0])
        )
    watch("theirs", theirs)
    watch("ours", ours)
    assert [len(of["ours"]) for of in (outputs, streams, eigenvalues)] == [4, 5, 4]
    for compared in (outputs, streams, eigenvalues):
        for found, expected in zip(compared["ours"], compared["theirs"], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
