"""Scores of the next token are those of the model's own language head, in order."""

from __future__ import annotations

import pytest
import torch

import spectrakit as sk
from spectrakit.errors import UsageError
from tests.families import FAMILIES

# Tied weights and not; soft caps, temperatures and biases; each kind of body.
SCORED = (
    "llama", "gpt2", "gemma2", "cohere", "opt", "phi", "mamba", "mamba2", "recurrent_gemma",
    "xlstm", "rwkv", "jamba", "qwen3_next",
)  # fmt: skip


def loaded(name, folder):
    family = next(family for family in FAMILIES if str(family) == name)
    with sk.open_checkpoint(str(family.write(folder / "model"))) as model:
        return model.load(), family.token_ids()


@pytest.mark.parametrize("name", SCORED)
def test_are_those_of_the_whole_model(name, tmp_path):
    runnable, tokens = loaded(name, tmp_path)
    places = torch.tensor([[0, 5], [tokens.shape[1] - 1, 3]])
    found = runnable.logits(tokens, places)
    with torch.no_grad():
        whole = runnable.model(input_ids=tokens, use_cache=False).logits
    expected = whole[torch.arange(2)[:, None], places]
    assert found.shape == expected.shape
    # Steps of a soft cap may be below float32's: compare what the model tells apart.
    apart = expected[..., :, None] - expected[..., None, :] > 1e-3
    assert apart.float().mean() > 0.2
    assert (found[..., :, None] > found[..., None, :])[apart].all()


def test_a_family_without_a_head_has_none(tmp_path):
    runnable, tokens = loaded("glm5_next_text", tmp_path)
    assert runnable.logits(tokens, torch.zeros(2, 1, dtype=torch.long)) is None


def test_positions_limit_the_tokens():
    with sk.open_checkpoint("tiny-llama") as model:
        runnable = model.load()
    assert runnable.most_tokens == 512
    with pytest.raises(UsageError, match="the model takes 512 tokens at most"):
        runnable.logits(torch.zeros(1, 513, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long))
    with sk.open_checkpoint("tiny-mamba") as model:
        assert model.load().most_tokens is None
