"""Quantised models run as transformers runs them, where the quantiser's package is installed."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import spectrakit as sk
from spectrakit.architectures import transformers_quantised
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import UnsupportedError

TOKENS = torch.arange(24).reshape(2, 12)
BLOCK = 128


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A Llama wide enough for a block of every quantiser."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=BLOCK,
        intermediate_size=BLOCK,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    with quiet_transformers():
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def logits(path):
    with sk.open_checkpoint(str(path)) as model:
        loaded = model.architecture.load(model.checkpoint, "cpu").model
        with torch.no_grad():
            return loaded(TOKENS).logits


def with_method(source, folder, method, **keys):
    """The same files, said to be quantised."""
    folder.mkdir()
    config = json.loads((source / "config.json").read_text())
    section = {"quant_method": method} | keys
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": section}))
    (folder / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    return folder


@pytest.mark.parametrize(
    ("method", "packages"),
    [
        ("awq", "gptqmodel"),
        ("bitsandbytes", "bitsandbytes"),
        ("compressed-tensors", "compressed-tensors"),
        ("gptq", "gptqmodel optimum"),
        ("torchao", "torchao"),
    ],
)
def test_a_missing_package_is_named_with_the_line(llama, tmp_path, monkeypatch, method, packages):
    monkeypatch.setattr(transformers_quantised, "_installed", lambda name: name == "accelerate")
    folder = with_method(llama, tmp_path / "quantised", method)
    with pytest.raises(UnsupportedError, match=rf"is quantised \({method}\)") as caught:
        logits(folder)
    assert caught.value.hint == f"pip install {packages}"


def test_an_unknown_method_is_refused(llama, tmp_path):
    with pytest.raises(UnsupportedError, match=r"quantised \(new\); its forward pass cannot"):
        logits(with_method(llama, tmp_path / "quantised", "new"))


def test_what_transformers_cannot_run_is_one_line(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(transformers_quantised, "_installed", lambda name: True)
    folder = with_method(llama, tmp_path / "quantised", "bitsandbytes", load_in_8bit=True)
    if transformers_quantised.find_spec("bitsandbytes") is not None:
        pytest.skip("with the package, it can")
    with pytest.raises(UnsupportedError, match="transformers cannot run quantised") as caught:
        logits(folder)
    assert "\n" not in caught.value.message
    assert caught.value.hint == "mode='weights'"


def test_float8_in_blocks(llama, tmp_path):
    """The layout of DeepSeek-V3 and Qwen's FP8 models: a scale for every block of 128 x 128."""
    pytest.importorskip("accelerate")
    folder = tmp_path / "float8"
    folder.mkdir()
    stored, plain = {}, {}
    for name, tensor in load_file(llama / "model.safetensors").items():
        plain[name] = stored[name] = tensor
        if name.endswith("_proj.weight"):
            scale = tensor.abs().max() / 448
            stored[name] = (tensor / scale).to(torch.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = scale.reshape(1, 1)
            plain[name] = stored[name].float() * scale
    config = json.loads((llama / "config.json").read_text())
    section = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [BLOCK, BLOCK],
    }
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": section}))
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config))
    save_file(plain, tmp_path / "plain" / "model.safetensors", {"format": "pt"})
    # transformers unpacks them into bfloat16 where there is no GPU that computes in float8.
    torch.testing.assert_close(logits(folder), logits(tmp_path / "plain"), rtol=0, atol=2e-3)


def _bitsandbytes(bits):
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")


def _torchao():
    quantization = pytest.importorskip("torchao.quantization")
    from transformers import TorchAoConfig

    return TorchAoConfig(quant_type=quantization.Int8WeightOnlyConfig())


MAKERS = {
    "bitsandbytes-4": lambda: _bitsandbytes(4),
    "bitsandbytes-8": lambda: _bitsandbytes(8),
    "torchao-8": _torchao,
}


@pytest.mark.parametrize("maker", MAKERS)
def test_what_the_library_quantises(llama, tmp_path, maker):
    """The run is the library's own, and every layer's recurrence is seen in it."""
    config = MAKERS[maker]()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with quiet_transformers():
        model = LlamaForCausalLM.from_pretrained(
            llama, quantization_config=config, dtype=torch.float32, device_map="cpu"
        )
        # First, as bitsandbytes lays weights out for a CPU anew until they are saved.
        model.save_pretrained(tmp_path / "quantised")
        with torch.no_grad():
            expected = model(TOKENS).logits
    torch.testing.assert_close(logits(tmp_path / "quantised"), expected)
    np.save(tmp_path / "ids.npy", TOKENS.numpy())
    run = sk.analyze(
        str(tmp_path / "quantised"), tokens=tmp_path / "ids.npy", analyses=["spectrum"]
    )
    assert set(run.table("layers")["status"].to_pylist()) == {"analysed"}
