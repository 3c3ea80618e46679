"""Models of every family through GGUF: eigenvalues and outputs are those of the original."""

from __future__ import annotations

import pytest
import torch

import spectrakit as sk
from spectrakit.architectures.reading import read_recurrence
from tests.families import FAMILIES
from tests.support.gguf_files import ARCHITECTURES, write_gguf

#: Keys of a config that GGUF does not have, where the example has them otherwise than published
#: models do: they are given beside the file, as `--config` gives them.
NOT_SAID = {
    "bamba": {"time_step_limit": [0.4, 0.8]},
    "nemotron_h": {"time_step_limit": [0.02, 0.04]},
    "kimi_linear-bounded": {"linear_attn_config.gate_lower_bound": -3.0},
    "qwen3_moe": {"norm_topk_prob": False},
    "gemma2": {"query_pre_attn_scalar": 256},
    "gemma3_text": {"query_pre_attn_scalar": 256},
    "mistral": {"model_type": "mistral", "sliding_window": 5},
}

CASES = [family for family in FAMILIES if family.model_type in ARCHITECTURES]


@pytest.fixture(scope="module", params=CASES, ids=str)
def converted(request, tmp_path_factory):
    folder = request.param.write(tmp_path_factory.mktemp("model"))
    return request.param, folder, write_gguf(folder, folder / "converted.gguf")


def _opened(path, family):
    return sk.open_checkpoint(str(path), config=NOT_SAID.get(str(family), {}))


def test_it_is_the_same_model(converted):
    family, folder, path = converted
    with sk.open_checkpoint(str(folder)) as original, _opened(path, family) as model:
        assert [layer.kind for layer in model.layers] == [layer.kind for layer in original.layers]
        tokens = family.token_ids()
        one = original.architecture.load(original.checkpoint, "cpu").model
        other = model.architecture.load(model.checkpoint, "cpu").model
        with torch.no_grad():
            expected, found = one(tokens).logits, other(tokens).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_eigenvalues_are_the_same(converted):
    family, folder, path = converted
    with sk.open_checkpoint(str(folder)) as original, _opened(path, family) as model:
        for mine, theirs in zip(model.layers, original.layers, strict=True):
            assert mine.in_weights == theirs.in_weights
            if not mine.in_weights:
                continue
            found = read_recurrence(model.checkpoint, mine).eigenvalues()
            expected = read_recurrence(original.checkpoint, theirs).eigenvalues()
            torch.testing.assert_close(found.log_modulus, expected.log_modulus, rtol=1e-5, atol=0)
