"""What the project's models start training from, where their files tell it."""

from __future__ import annotations

import pytest
import torch
from spectrakit_rwkv.examples import VERSIONS, WIDTH, write

import spectrakit as sk
from spectrakit.architectures.random_weights import randomize
from spectrakit.errors import UnsupportedError

TOKENS = torch.arange(24).view(2, 12)


@pytest.fixture
def opened(tmp_path):
    def open_version(version):
        return sk.open_checkpoint(str(write(version, tmp_path)))

    return open_version


@pytest.mark.parametrize("version", ["4", "5.0", "5.1"])
@pytest.mark.parametrize("what", ["all", "mixers", "mlps"])
def test_versions_whose_files_do_not_tell_it_are_refused(opened, version, what):
    with opened(version) as model:
        runnable = model.load()
        with pytest.raises(UnsupportedError, match=r"before 5\.2.* which no file states"):
            randomize(runnable, model.layers, what)


@pytest.mark.parametrize("version", sorted(VERSIONS.keys() - {"4", "5.0", "5.1"}))
def test_parts_are_those_of_the_whole_and_at_first_no_layer_does_anything(opened, version):
    with opened(version) as model:
        drawn = {}
        for what in ("all", "mixers", "mlps"):
            runnable = model.load()
            before = dict(runnable.weights)
            randomize(runnable, model.layers, what, seed=4)
            drawn[what] = runnable.weights
            new = {name for name in before if runnable.weights[name] is not before[name]}
            part = {"all": "", "mixers": ".att.", "mlps": ".ffn."}[what]
            assert new == {name for name in before if part in name}
            assert all(torch.equal(drawn[what][n], drawn["all"][n]) for n in new)
        streams = []
        runnable.weights = drawn["all"]
        runnable.run(TOKENS, on_states=lambda _, states: streams.append(states))
    assert len(streams) == 1 + len(VERSIONS[version])
    for layer in range(len(VERSIONS[version])):
        norm = drawn["all"][f"blocks.{layer}.att.ln_x.weight"]
        torch.testing.assert_close(norm, torch.full_like(norm, ((layer + 1) / 2) ** 0.7))
    entering = torch.nn.functional.layer_norm(streams[0], (WIDTH,))  # in the first block
    assert all(torch.equal(states, entering) for states in streams[1:])
    assert float(drawn["all"]["emb.weight"].abs().max()) == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize("version", ["5.2", "6"])
def test_decays_bonuses_and_mixes_of_5_and_6(opened, version):
    """Layers 0 and 1 of 2: 12 channels within heads, a model width of 10."""
    with opened(version) as model:
        runnable = model.load()
        randomize(runnable, model.layers, "all")
    weights = {name: value.flatten() for name, value in runnable.weights.items()}
    kind = "time_mix" if version == "5.2" else "time_maa"
    for layer, (past, left) in enumerate([(0, 1), (1, 0.5)]):
        att = f"blocks.{layer}.att."
        for n in range(12):
            along = n / 11
            decay = -6 + 5 * along ** (0.7 + 1.3 * past)
            bonus = past * (1 - along) + 0.1 * ((n + 1) % 3 - 1)
            assert float(weights[att + "time_decay"][n]) == pytest.approx(decay, abs=1e-6)
            assert float(weights[att + "time_faaaa"][n]) == pytest.approx(bonus, abs=1e-6)
        for n in range(10):
            mixes = {"k": (n / 10) ** left, "r": (n / 10) ** (left / 2),
                     "v": (n / 10) ** left + 0.3 * past}  # fmt: skip
            for letter, value in mixes.items():
                expected = value if version == "5.2" else 1 - value
                found = weights[f"{att}{kind}_{letter}"][n]
                assert float(found) == pytest.approx(expected, abs=1e-6)
            of_channels = (n / 10) ** left if version == "5.2" else 1 - (n / 10) ** (left**3)
            found = weights[f"blocks.{layer}.ffn.{kind}_k"][n]
            assert float(found) == pytest.approx(of_channels, abs=1e-6)
    for name, gain in (("receptance", 1), ("key", 0.1), ("value", 1), ("gate", 0.1)):
        matrix = runnable.weights[f"blocks.1.att.{name}.weight"].double()
        torch.testing.assert_close(
            torch.linalg.svdvals(matrix), torch.full((10,), gain).double(), rtol=1e-4, atol=0
        )
    if version == "6":
        assert not weights["blocks.1.att.time_decay_w1"].any()
        assert 0 < float(weights["blocks.1.att.time_decay_w2"].abs().max()) <= 0.01
