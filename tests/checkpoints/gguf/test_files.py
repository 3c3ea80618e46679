"""GGUF files as people have them: quantised, split, on the Hub, of models that are not known."""

from __future__ import annotations

import json
import sys

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit import checkpoints
from spectrakit.errors import MalformedError, UnsupportedError
from tests.families import FAMILIES
from tests.support.gguf_files import finish, write_gguf

WRITABLE = [
    kind
    for kind in gguf.GGML_QUANT_SIZES
    if kind.name in {"F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0"}
]
MAMBA2 = {
    "model_type": "mamba2",
    "hidden_size": 512,
    "num_hidden_layers": 2,
    "state_size": 16,
    "num_heads": 16,
    "head_dim": 64,
    "n_groups": 1,
    "expand": 2,
    "conv_kernel": 4,
    "vocab_size": 64,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}


def write_mamba2(folder, **changed):
    """A Mamba-2 wide enough for the blocks of every type."""
    config = MAMBA2 | changed
    inner = config["num_heads"] * config["head_dim"]
    mixed = inner + 2 * config["state_size"]
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=random)

    tensors = {
        "backbone.embeddings.weight": normal(config["vocab_size"], config["hidden_size"]),
        "backbone.norm_f.weight": normal(config["hidden_size"]),
    }
    for index in range(config["num_hidden_layers"]):
        block = f"backbone.layers.{index}"
        mixer = {
            "A_log": normal(config["num_heads"]).abs(),
            "D": normal(config["num_heads"]),
            "dt_bias": normal(config["num_heads"]),
            "conv1d.weight": normal(mixed, 1, 4),
            "conv1d.bias": normal(mixed),
            "norm.weight": normal(inner),
            "in_proj.weight": normal(inner + mixed + config["num_heads"], config["hidden_size"]),
            "out_proj.weight": normal(config["hidden_size"], inner),
        }
        tensors |= {f"{block}.mixer.{name}": value for name, value in mixer.items()}
        tensors[f"{block}.norm.weight"] = normal(config["hidden_size"])
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def mamba2(tmp_path_factory):
    return write_mamba2(tmp_path_factory.mktemp("mamba2"))


def spectrum(path):
    run = sk.analyze(str(path), mode="weights", analyses=["spectrum"])
    return run.table("spectrum").to_pandas().drop(columns=["model_id", "revision"])


@pytest.mark.parametrize("kind", WRITABLE, ids=lambda kind: kind.name)
def test_values_are_those_that_the_package_unpacks(mamba2, tmp_path, kind):
    path = write_gguf(mamba2, tmp_path / "model.gguf", kind)
    original = load_file(mamba2 / "model.safetensors")
    name = "backbone.layers.1.mixer.in_proj.weight"
    with checkpoints.open_checkpoint(path) as checkpoint:
        read = checkpoint.read([name, "backbone.layers.1.mixer.A_log"])
        assert checkpoint.tensors[name].stored_as == kind.name
    packed = gguf.quants.quantize(original[name].numpy(), kind)
    expected = torch.from_numpy(gguf.quants.dequantize(packed, kind))
    assert torch.equal(read[name].float(), expected)
    torch.testing.assert_close(
        read["backbone.layers.1.mixer.A_log"], original["backbone.layers.1.mixer.A_log"]
    )


def test_weights_mode_needs_no_package(mamba2, tmp_path, monkeypatch):
    path = write_gguf(mamba2, tmp_path / "model.gguf", Kind.Q4_0)
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setitem(sys.modules, "gguf.quants", None)
    with sk.open_checkpoint(str(path)) as model:
        names = [name for layer in model.layers for name in layer.weights_tensors]
        read = model.checkpoint.read(names)
        original = load_file(mamba2 / "model.safetensors")
        for name in names:
            torch.testing.assert_close(read[name], original[name])
        with pytest.raises(UnsupportedError, match=r"is quantised \(Q4_0\)") as caught:
            model.checkpoint.read(["backbone.layers.0.mixer.in_proj.weight"])
    assert caught.value.hint == "pip install 'spectrakit[gguf]'"


def test_the_table_of_eigenvalues_is_the_original_one(mamba2, tmp_path):
    path = write_gguf(mamba2, tmp_path / "model.gguf", Kind.Q8_0)
    found, expected = spectrum(path), spectrum(mamba2)
    assert list(found["layer"]) == list(expected["layer"])
    np.testing.assert_allclose(found["decay_rate"], expected["decay_rate"], rtol=1e-6)


def test_on_the_hub_a_hundredth_is_read(hub, tmp_path):
    folder = write_mamba2(tmp_path / "wide", hidden_size=2048, num_heads=64)
    path = write_gguf(folder, tmp_path / "model-Q4_0.gguf", Kind.Q4_0)
    hub.add_repo("org/quantised", {"model-Q4_0.gguf": path})
    with sk.open_checkpoint("org/quantised") as model:
        names = [name for layer in model.layers for name in layer.weights_tensors]
        read = model.checkpoint.read(names)
    assert hub.bytes_sent <= path.stat().st_size / 100
    original = load_file(folder / "model.safetensors")
    assert all(torch.allclose(read[name], original[name], atol=1e-6) for name in names)


def split(path, folder, parts):
    """The file in parts, as llama-gguf-split makes them: the first has the keys."""
    reader = gguf.GGUFReader(path)
    share = -(-len(reader.tensors) // parts)
    files = []
    for part in range(parts):
        file = folder / f"model-{part + 1:05d}-of-{parts:05d}.gguf"
        writer = gguf.GGUFWriter(file, "mamba2" if part == 0 else "")
        if part == 0:
            for name, field in reader.fields.items():
                if name.startswith("mamba2."):
                    writer.add_key_value(name, field.contents(), field.types[0])
        writer.add_uint16("split.no", part)
        writer.add_uint16("split.count", parts)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[part * share : (part + 1) * share]:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        finish(writer)
        files.append(file)
    return files


def test_parts_are_one_model(mamba2, tmp_path):
    whole = write_gguf(mamba2, tmp_path / "whole.gguf", Kind.Q8_0)
    (tmp_path / "parts").mkdir()
    files = split(whole, tmp_path / "parts", 3)
    with checkpoints.open_checkpoint(whole) as one:
        expected = one.read(one.tensors)
    for given in (tmp_path / "parts", files[0], files[2]):
        with checkpoints.open_checkpoint(given) as parts:
            read = parts.read(parts.tensors)
        assert read.keys() == expected.keys()
        assert all(torch.equal(read[name], expected[name]) for name in expected)
    files[1].unlink()
    with pytest.raises(MalformedError, match="lacks model-00002-of-00003"):
        checkpoints.open_checkpoint(files[0])


def test_a_part_under_another_name_is_not_taken_for_a_whole(mamba2, tmp_path):
    whole = write_gguf(mamba2, tmp_path / "whole.gguf", Kind.Q8_0)
    first, *_ = split(whole, tmp_path, 2)
    first = first.rename(tmp_path / "renamed.gguf")
    with pytest.raises(MalformedError, match="part 0 of 2"):
        checkpoints.open_checkpoint(first)


def test_several_quantisations_are_named(mamba2, tmp_path):
    for kind in (Kind.Q4_0, Kind.Q8_0):
        write_gguf(mamba2, tmp_path / f"model-{kind.name}.gguf", kind)
    with pytest.raises(UnsupportedError, match=r"model-Q4_0.gguf, model-Q8_0.gguf"):
        checkpoints.open_checkpoint(tmp_path)


def test_the_projector_of_images_beside_it_is_not_the_model(mamba2, tmp_path):
    write_gguf(mamba2, tmp_path / "model-Q8_0.gguf", Kind.Q8_0)
    (tmp_path / "mmproj-model-f16.gguf").write_bytes(b"not looked into")
    with checkpoints.open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config["model_type"] == "mamba2"


def test_it_is_known_by_its_content(mamba2, tmp_path):
    path = write_gguf(mamba2, tmp_path / "weights.dat", Kind.Q8_0)
    with checkpoints.open_checkpoint(path) as checkpoint:
        assert checkpoint.files[0].format == "gguf"


def _unknown(path):
    writer = gguf.GGUFWriter(path, "plamo2")
    writer.add_block_count(1)
    writer.add_tensor("blk.0.ssm_a", -np.ones((4, 1), np.float32))
    finish(writer)
    return path


def test_a_model_that_is_not_known_is_listed_as_it_is(tmp_path):
    with checkpoints.open_checkpoint(_unknown(tmp_path / "model.gguf")) as checkpoint:
        assert list(checkpoint.tensors) == ["blk.0.ssm_a"]
    with pytest.raises(UnsupportedError, match="GGUF architecture 'plamo2'"):
        sk.open_checkpoint(str(tmp_path / "model.gguf"))


def test_a_damaged_model_is_named(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "mamba2")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.ones((4, 2), np.float32))
    finish(writer)
    with pytest.raises(MalformedError, match="is None, which no model"):
        checkpoints.open_checkpoint(tmp_path / "model.gguf")


LLAMA = next(family for family in FAMILIES if str(family) == "llama")


def test_the_frequencies_of_llama_3_are_known_again(tmp_path):
    """`rope_freqs` of the converter, from transformers' own frequencies."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = LlamaConfig(
        hidden_size=128, num_attention_heads=2, max_position_embeddings=131072, rope_parameters=rope
    )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500_000.0 ** -(torch.arange(0, 64, 2) / 64)
    path = _with_frequencies(tmp_path, (plain / scaled).numpy())
    with checkpoints.open_checkpoint(path) as checkpoint:
        assert checkpoint.config["rope_parameters"] == rope
    path = _with_frequencies(tmp_path, np.linspace(1, 8, 32))
    with pytest.raises(UnsupportedError, match="not those of Llama 3"):
        checkpoints.open_checkpoint(path)


def _with_frequencies(folder, factors):
    writer = gguf.GGUFWriter(folder / "llama.gguf", "llama")
    writer.add_block_count(0)
    writer.add_context_length(131072)
    writer.add_embedding_length(128)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500_000.0)
    writer.add_tensor("token_embd.weight", np.ones((4, 128), np.float32))
    writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
    finish(writer)
    return folder / "llama.gguf"
