"""Folders of MLX: eigenvalues and outputs are those of the model they were made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import spectrakit as sk
from spectrakit import checkpoints
from spectrakit.architectures.reading import read_recurrence
from spectrakit.checkpoints.mlx.packed import BITS, Unpacked
from spectrakit.errors import MalformedError
from tests import families
from tests.support.mlx_folders import FAMILIES, quantized, write_mlx

CASES = [next(f for f in families.FAMILIES if str(f) == name) for name in FAMILIES]


@pytest.fixture(scope="module", params=CASES, ids=str)
def original(request, tmp_path_factory):
    return request.param, request.param.write(tmp_path_factory.mktemp("model"))


def _logits(model, tokens):
    with torch.no_grad():
        return model.architecture.load(model.checkpoint, "cpu").model(tokens).logits


def test_in_floats_it_is_the_same_model(original, tmp_path):
    family, folder = original
    path, _ = write_mlx(tmp_path / "mlx", folder)
    with sk.open_checkpoint(str(folder)) as one, sk.open_checkpoint(str(path)) as other:
        expected = one.checkpoint.read(one.checkpoint.tensors)
        tokens = family.token_ids()
        torch.testing.assert_close(_logits(other, tokens), _logits(one, tokens))
        assert [layer.kind for layer in other.layers] == [layer.kind for layer in one.layers]
        same = other.checkpoint.tensors.keys() & expected.keys()
        read = other.checkpoint.read(same)
        for name in same:
            torch.testing.assert_close(read[name], expected[name], msg=name)


@pytest.mark.parametrize("bits", [4, 6])
def test_in_a_few_bits_eigenvalues_are_the_same(original, tmp_path, bits):
    _, folder = original
    path, _ = write_mlx(tmp_path / "mlx", folder, bits)
    with sk.open_checkpoint(str(folder)) as one, sk.open_checkpoint(str(path)) as other:
        for mine, theirs in zip(other.layers, one.layers, strict=True):
            assert mine.in_weights == theirs.in_weights
            if mine.in_weights:
                found = read_recurrence(other.checkpoint, mine).eigenvalues()
                expected = read_recurrence(one.checkpoint, theirs).eigenvalues()
                assert torch.equal(found.log_modulus, expected.log_modulus)


def test_in_a_few_bits_the_unpacked_model_runs(original, tmp_path):
    """What runs is the model of the values that the integers stand for."""
    family, folder = original
    path, values = write_mlx(tmp_path / "mlx", folder, 4)
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text((folder / "config.json").read_text())
    values = {name: np.ascontiguousarray(value) for name, value in values.items()}
    save_file(values, plain / "model.safetensors")
    tokens = family.token_ids()
    with sk.open_checkpoint(str(plain)) as one, sk.open_checkpoint(str(path)) as other:
        assert any(entry.packed for entry in other.checkpoint.tensors.values())
        torch.testing.assert_close(_logits(other, tokens), _logits(one, tokens))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", [(3, 64), (2, 3, 96)])
def test_any_number_of_bits(bits, shape):
    values = np.random.default_rng(bits).normal(size=shape).astype(np.float32)
    words, scales, biases = map(torch.from_numpy, quantized(values, bits, 32))
    found = Unpacked(bits).values([words, scales, biases])
    assert found.shape == shape
    # No value is further than half a step from what it is rounded to.
    assert (found - torch.from_numpy(values)).abs().max() <= 0.51 * scales.max()


def test_what_the_library_packs(tmp_path):
    mx = pytest.importorskip("mlx.core")
    random = np.random.default_rng(0)
    for bits in BITS:
        values = mx.array(random.normal(size=(8, 128)).astype(np.float32))
        packed = mx.quantize(values, group_size=64, bits=bits)
        expected = np.array(mx.dequantize(*packed, group_size=64, bits=bits))
        tensors = [torch.from_numpy(np.array(part)) for part in packed]
        found = Unpacked(bits).values(tensors)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


#: Keys that mlx-lm wants and transformers no longer writes; families that it refuses even so.
_EXTRA = {
    "qwen3_next": {
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
        "full_attention_interval": 2,
    },
}
_REFUSED = {"falcon_h1", "granitemoehybrid", "kimi_linear", "lfm2", "mamba2"}


@pytest.mark.parametrize("bits", [None, 4])
def test_what_the_library_converts(original, tmp_path, bits):
    """mlx-lm's own folder, read here, computes what mlx-lm's own model does."""
    mx = pytest.importorskip("mlx.core")
    utils = pytest.importorskip("mlx_lm.utils")
    family, folder = original
    if str(family) in _REFUSED:
        pytest.skip("mlx-lm 0.32 does not take the config that transformers writes")
    if bits and str(family) in {"jamba", "qwen3_next"}:
        pytest.skip("mlx-lm quantises experts by groups of 64, and some here have 32")
    model, config = utils.load_model(folder, model_config=_EXTRA.get(str(family), {}))
    if bits:
        model, config = utils.quantize_model(model, config, group_size=32, bits=bits)
    path = tmp_path / "mlx"
    path.mkdir()
    utils.save_model(path, model)
    utils.save_config(config, config_path=path / "config.json")
    tokens = family.token_ids()
    expected = np.array(model(mx.array(tokens.numpy())).astype(mx.float32))
    with sk.open_checkpoint(str(path)) as read:
        found = _logits(read, tokens).numpy()
    assert np.abs(found - expected).max() <= 2e-3 * np.abs(expected).max()


def test_damage_is_named(tmp_path):
    folder = CASES[0].write(tmp_path / "model")
    path, _ = write_mlx(tmp_path / "mlx", folder, 4)
    tensors = load_file(path / "model.safetensors")
    name = "backbone.layers.0.mixer.in_proj.scales"
    tensors[name] = tensors[name][:-1]
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(MalformedError, match=r"in_proj\.weight .* are not of 4 bits"):
        checkpoints.open_checkpoint(path)


def test_on_the_hub(hub, tmp_path):
    """Ranges first, then the whole folder; both restored."""
    folder = CASES[0].write(tmp_path / "model")
    path, _ = write_mlx(tmp_path / "mlx", folder, 4)
    hub.add_repo("mlx-community/tiny-4bit", {file.name: file for file in path.iterdir()})
    with checkpoints.open_checkpoint(path) as local:
        expected = local.read(local.tensors)
    with checkpoints.open_checkpoint("mlx-community/tiny-4bit") as remote:
        found = remote.read(remote.tensors)
        again = remote.localize()
        assert again.tensors.keys() == expected.keys()
        assert not again.remote_files
    assert all(torch.equal(found[name], expected[name]) for name in expected)
