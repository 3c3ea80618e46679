"""Models without a language head or with another one: the body's recurrences, and no scores."""

from __future__ import annotations

import logging

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.errors import MalformedError

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
LLAMA = transformers.LlamaConfig(**SIZES)
MAMBA2 = transformers.Mamba2Config(
    hidden_size=32, num_hidden_layers=2, state_size=8, vocab_size=256, num_heads=4, head_dim=16,
    n_groups=1, pad_token_id=0, bos_token_id=0, eos_token_id=0,
)  # fmt: skip
TOKENS = torch.arange(40).reshape(2, 20) % 256


def saved(tmp_path, kind, config):
    torch.manual_seed(0)
    model = kind(config).eval()
    model.save_pretrained(tmp_path)
    return model


@pytest.mark.parametrize(
    ("kind", "config", "head"),
    [
        (transformers.LlamaModel, LLAMA, None),
        (transformers.LlamaForSequenceClassification, LLAMA, "score"),
        (transformers.LlamaForTokenClassification, LLAMA, "score"),
        (transformers.Mamba2Model, MAMBA2, None),
    ],
)
def test_the_body_is_that_of_the_file(tmp_path, kind, config, head, caplog):
    original = saved(tmp_path, kind, config)
    with caplog.at_level(logging.INFO, "spectrakit"), sk.open_checkpoint(str(tmp_path)) as model:
        running = model.architecture.load(model.checkpoint, "cpu")
    assert ("left out" in caplog.text) == (head is not None)
    assert head is None or f": {head}" in caplog.text
    body = running.model.base_model.state_dict()
    expected = original.base_model.state_dict()
    assert body.keys() == expected.keys()
    assert all(torch.equal(body[name], tensor) for name, tensor in expected.items())
    places = torch.tensor([[3], [4]])
    assert running.logits(TOKENS, places) is None


def test_a_value_head_beside_the_language_head(tmp_path):
    original = saved(tmp_path, transformers.LlamaForCausalLM, LLAMA)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["v_head.summary.weight"] = torch.randn(1, 32)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    places = torch.tensor([[3], [4]])
    with sk.open_checkpoint(str(tmp_path)) as model:
        scores = model.architecture.load(model.checkpoint, "cpu").logits(TOKENS, places)
    with torch.no_grad():
        expected = original(TOKENS).logits[torch.arange(2)[:, None], places]
    torch.testing.assert_close(scores, expected)


def test_a_bias_of_the_language_head_is_not_left_out(tmp_path):
    saved(tmp_path, transformers.LlamaForCausalLM, LLAMA)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.bias"] = torch.randn(256)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with (
        sk.open_checkpoint(str(tmp_path)) as model,
        pytest.raises(MalformedError, match=r"no place for lm_head\.bias"),
    ):
        model.architecture.load(model.checkpoint, "cpu")


def test_a_part_of_the_body_is_not_left_out(tmp_path):
    saved(tmp_path, transformers.LlamaModel, LLAMA)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["norm.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with (
        sk.open_checkpoint(str(tmp_path)) as model,
        pytest.raises(MalformedError, match=r"weights lack model\.norm\.weight"),
    ):
        model.architecture.load(model.checkpoint, "cpu")


def test_every_analysis_that_needs_no_head(tmp_path):
    saved(tmp_path / "model", transformers.LlamaForSequenceClassification, LLAMA)
    text = tmp_path / "text.txt"
    text.write_text("a text to be read, of some length. " * 20)
    run = sk.analyze(
        str(tmp_path / "model"),
        text=str(text),
        tokenizer="bytes",
        seq_len=64,
        analyses=["spectrum", "memory", "lyapunov", "similarity", "propagation"],
        out=tmp_path / "run",
    )
    assert run.table("layers")["status"].to_pylist() == ["analysed"] * 2


def test_a_language_model_in_one_of_images(tmp_path):
    """LLaVA's, against the same weights as a language model alone."""
    images = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=28, patch_size=14,
    )  # fmt: skip
    config = transformers.LlavaConfig(vision_config=images, text_config=LLAMA, image_token_index=5)
    original = saved(tmp_path, transformers.LlavaForConditionalGeneration, config)
    with sk.open_checkpoint(str(tmp_path)) as model:
        running = model.architecture.load(model.checkpoint, "cpu")
    places = torch.tensor([[3], [19]])
    with torch.no_grad():
        expected = original(TOKENS + 6).logits[torch.arange(2)[:, None], places]
    torch.testing.assert_close(running.logits(TOKENS + 6, places), expected)


MAMBA = transformers.MambaConfig(
    hidden_size=32, num_hidden_layers=2, state_size=8, vocab_size=256, pad_token_id=0
)


def under(folder, prefix, **more):
    """Put the tensors of the file under another word, and others beside them."""
    tensors = load_file(folder / "model.safetensors")
    tensors = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    save_file(tensors | more, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_question_answerer(tmp_path):
    """Whose body is called transformer, in transformers itself."""
    original = saved(tmp_path, transformers.LlamaForQuestionAnswering, LLAMA)
    assert_same_body(tmp_path, original.base_model)


def test_a_model_that_trl_gave_a_value_head(tmp_path):
    original = saved(tmp_path, transformers.LlamaForCausalLM, LLAMA)
    under(tmp_path, "pretrained_model.", **{"v_head.summary.weight": torch.randn(1, 32)})
    assert_same_body(tmp_path, original.base_model)


@pytest.mark.parametrize("prefix", ["", "backbone.", "model.mamba.", "encoder."])
def test_a_classifier_of_mamba(tmp_path, prefix):
    original = saved(tmp_path, transformers.MambaModel, MAMBA)
    under(tmp_path, prefix, **{"classifier.weight": torch.randn(3, 32)})
    assert_same_body(tmp_path, original)


def test_a_folder_of_sentence_transformers(tmp_path):
    original = saved(tmp_path / "0_Transformer", transformers.LlamaModel, LLAMA)
    (tmp_path / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "0_Transformer"}]')
    assert_same_body(tmp_path, original)


def assert_same_body(folder, body):
    with sk.open_checkpoint(str(folder)) as model:
        running = model.architecture.load(model.checkpoint, "cpu")
    with torch.no_grad():
        found, expected = running.model.base_model(TOKENS)[0], body(TOKENS)[0]
    torch.testing.assert_close(found, expected)
