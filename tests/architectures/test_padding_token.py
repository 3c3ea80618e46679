"""A padding token that the vocabulary does not have: it is masked and never embedded."""

from __future__ import annotations

import json

import pytest
import torch

import spectrakit as sk
from tests.families import FAMILIES
from tests.families.base import VOCABULARY

#: One past the embedding, as of a tokenizer that was extended; what trainers write for none; and
#: what is no token at all.
OUTSIDE = (VOCABULARY, -1, -(10**6), 163_839, 2.5, "3", True)


def states(folder, family):
    """The residual stream where it leaves the last block."""
    found = []
    with sk.open_checkpoint(str(folder)) as model:
        model.load().run(family.token_ids(), on_states=lambda _, stream: found.append(+stream))
    return found[-1]


def with_padding(folder, token):
    config = json.loads((folder / "config.json").read_text())
    config.pop("pad_token_id", None)
    if token is not ...:
        config["pad_token_id"] = token
    (folder / "config.json").write_text(json.dumps(config))


#: Encoders are not run.
_BY_TYPE = {family.model_type: family for family in FAMILIES if "attention" not in family.kinds}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(_BY_TYPE)), ids=list(_BY_TYPE))
def test_every_family_runs_with_one(number, tmp_path):
    family = list(_BY_TYPE.values())[number]
    folder = family.write(tmp_path / "model")
    expected = states(folder, family)
    with_padding(folder, OUTSIDE[number % len(OUTSIDE)])
    assert torch.equal(states(folder, family), expected)


@pytest.mark.parametrize("model_type", ["kimi_linear", "llama", "nemotron_h"])
@pytest.mark.parametrize("token", [*OUTSIDE, None, ...], ids=str)
def test_any_id_and_the_class_s_own(model_type, token, tmp_path):
    """`...` stands for none in the file: Kimi Linear's class then has 163839."""
    family = _BY_TYPE[model_type]
    folder = family.write(tmp_path / "model")
    expected = states(folder, family)
    with_padding(folder, token)
    assert torch.equal(states(folder, family), expected)


def test_a_padding_token_of_the_vocabulary_stays(tmp_path):
    folder = _BY_TYPE["llama"].write(tmp_path / "model")
    with_padding(folder, 7)
    with sk.open_checkpoint(str(folder)) as model:
        assert model.load().model.get_input_embeddings().padding_idx == 7
