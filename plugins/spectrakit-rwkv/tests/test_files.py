"""Files that are not quite those of a released version, and files in half precision."""

from __future__ import annotations

import pytest
import torch
from spectrakit_rwkv.examples import VERSIONS, VOCABULARY, WIDTH, state_dict

import spectrakit as sk
from spectrakit.architectures.written_out import ForwardPass
from spectrakit.errors import MalformedError, UnsupportedError

TOKENS = torch.arange(12)[None] % VOCABULARY


@pytest.fixture
def opened(tmp_path):
    models = []

    def open_file(tensors):
        torch.save(tensors, tmp_path / "model.pth")
        models.append(sk.open_checkpoint(str(tmp_path / "model.pth")))
        return models[-1]

    yield open_file
    for model in models:
        model.close()


def hidden_states(model, dtype):
    runnable = model.architecture.load(model.checkpoint, "cpu", dtype)
    with torch.no_grad():
        return runnable.hidden_states(TOKENS, ForwardPass(runnable))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_in_half_precision_runs_in_either(version, opened):
    model = opened({name: value.bfloat16() for name, value in state_dict(version).items()})
    wide, half = hidden_states(model, "float32"), hidden_states(model, "bfloat16")
    assert half.dtype == torch.bfloat16
    # Eight bits through two blocks.
    assert float((half - wide).abs().mean() / wide.abs().mean()) < 0.05


@pytest.mark.parametrize(
    ("version", "missing"), [("4", "time_first"), ("6", "time_maa_w1"), ("7", "k_a")]
)
def test_without_a_parameter_the_decays_are_read_and_nothing_run(version, missing, opened):
    tensors = state_dict(version)
    del tensors[f"blocks.1.att.{missing}"]
    model = opened(tensors)
    assert [layer.runs for layer in model.layers] == [True, False]
    assert missing in model.layers[1].reason
    assert sk.analyze(model, mode="weights").table("spectrum").num_rows
    with pytest.raises(UnsupportedError, match=missing):
        model.architecture.load(model.checkpoint, "cpu")


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("6", "blocks.0.att.time_state"),  # a state to begin with, tuned to a task
        ("7", "blocks.1.ffn.s_emb.weight"),  # embeddings inside the channel mixing
        ("4", "blocks.0.tiny_q.weight"),  # a little attention beside it
    ],
)
def test_a_model_of_further_parts_is_not_run(version, name, opened):
    model = opened(state_dict(version) | {name: torch.ones(3, 4, 4)})
    assert sk.analyze(model, mode="weights").table("spectrum").num_rows
    with pytest.raises(MalformedError, match=f"no place for {name}"):
        model.architecture.load(model.checkpoint, "cpu")


def test_a_preview_of_rwkv7_stays_unread(opened):
    model = opened(state_dict("6") | {"blocks.0.att.time_aaaaa": torch.zeros(1, 1, 12)})
    assert [layer.kind for layer in model.layers] == ["rwkv7", "rwkv6"]
    with pytest.raises(UnsupportedError, match="a preview of RWKV-7"):
        model.architecture.load(model.checkpoint, "cpu")


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("5.2", "blocks.1.att.time_mix_g"),
        ("6", "blocks.0.att.time_maa_w2"),
        ("7", "blocks.1.att.v1"),
        ("4", "blocks.0.ffn.key.weight"),
        ("7", "ln_out.bias"),
    ],
)
def test_a_misshapen_tensor_is_refused(version, name, opened):
    tensors = state_dict(version)
    tensors[name] = torch.ones(*tensors[name].shape, WIDTH)
    model = opened(tensors)
    with pytest.raises(MalformedError, match=name.rpartition(".att.")[2]):
        model.architecture.load(model.checkpoint, "cpu")
