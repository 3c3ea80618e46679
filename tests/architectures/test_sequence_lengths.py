"""How long a sequence may be: any length, unless attention is told where a token stands."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import spectrakit as sk
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import UsageError
from tests.families import FAMILIES
from tests.families.base import Family
from tests.mixers.test_mamba import assert_within

BY_NAME = {str(family): family for family in FAMILIES}
TRAINED, TOKENS = 16, 45
ROTARY = {"rope_type": "default", "rope_theta": 1e4}
NO_ROTARY = ROTARY | {"rope_theta": None}
SHORT = {"max_position_embeddings": TRAINED}


def with_config(name, **changes):
    family = BY_NAME[name]
    return Family(family.model_type, family.kinds, {**family.config, **changes}, tokens=TOKENS)


def loaded(family, folder):
    with sk.open_checkpoint(str(family.write(folder / "model"))) as model:
        return model.load()


def stream(runnable, tokens):
    """The residual stream behind the last block."""
    seen = {}
    runnable.run(tokens, on_states=lambda depth, states: seen.update({depth: states.clone()}))
    return seen[max(seen)]


def in_pieces(folder, tokens, count):
    """The last hidden states of transformers' RWKV, fed `count` tokens at once with its state."""
    with quiet_transformers():
        config = AutoConfig.from_pretrained(folder, rescale_every=0)
        model = AutoModelForCausalLM.from_pretrained(folder, config=config).eval().base_model
        state, parts = None, []
        for piece in tokens.split(count, dim=1):
            with torch.no_grad():
                out = model(input_ids=piece, state=state, use_cache=True)
            state = out.state
            parts.append(out.last_hidden_state)
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("key", ["context_length", "max_position_embeddings"])
def test_rwkv_4_goes_on_as_with_its_state(key, tmp_path):
    config = {k: v for k, v in BY_NAME["rwkv"].config.items() if k != "context_length"}
    # The state of transformers has the model's width alone.
    config |= {key: TRAINED, "attention_hidden_size": config["hidden_size"]}
    family = Family("rwkv", ("rwkv4",) * 3, config, tokens=TOKENS)
    runnable = loaded(family, tmp_path)
    assert runnable.most_tokens is None
    tokens = family.token_ids()
    seen = []
    runnable.run(tokens, lambda _, observation: seen.append(observation))
    for observation in seen:
        assert_within(observation.output().float(), observation.outputs, 1e-5)
    with torch.no_grad():
        found = runnable.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    assert_within(found, in_pieces(tmp_path / "model", tokens, TRAINED), 1e-5)


def test_xlstm_takes_whole_what_transformers_takes_in_pieces(tmp_path):
    # The state of transformers has keys as wide as values.
    family = with_config("xlstm", max_inference_chunksize=TRAINED, qk_dim_factor=1.0)
    runnable = loaded(family, tmp_path)
    assert runnable.most_tokens is None
    tokens = family.token_ids()
    seen = []
    runnable.run(tokens, lambda _, observation: seen.append(observation))
    for observation in seen:
        assert observation.outputs.shape[2] == TOKENS
        assert_within(observation.output().float(), observation.outputs, 1e-4)
    with quiet_transformers(), torch.no_grad():
        pieces = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval().base_model
        assert pieces.config.max_inference_chunksize == TRAINED
        expected = pieces(input_ids=tokens).last_hidden_state
        found = runnable.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    assert_within(found, expected, 1e-4)


@pytest.mark.parametrize("name", ["mamba", "mamba2", "falcon_mamba"])
def test_mamba_has_no_longest_sequence(name, tmp_path):
    assert loaded(with_config(name), tmp_path).most_tokens is None


@pytest.mark.parametrize(
    "family",
    [
        with_config("jamba", **SHORT),
        with_config("nemotron_h", **SHORT, time_step_min=0.001),
        with_config("zamba", **SHORT),
        with_config("zamba2", **SHORT, use_mem_rope=False),
        with_config("granitemoehybrid", **SHORT, position_embedding_type=None),
        with_config("kimi_linear", **SHORT),
        with_config("olmo_hybrid", **SHORT, rope_parameters=NO_ROTARY),
    ],
    ids=str,
)
def test_hybrids_without_positions_have_none_either(family, tmp_path):
    runnable = loaded(family, tmp_path)
    assert not any(is_rotary(module) for module in runnable.model.modules())
    assert runnable.most_tokens is None
    tokens = family.token_ids()
    whole = stream(runnable, tokens)
    assert_within(whole[:, :TRAINED], stream(runnable, tokens[:, :TRAINED]), 1e-4)


def is_rotary(module):
    return "rotary" in type(module).__name__.lower()


@pytest.mark.parametrize(
    "family",
    [
        with_config("bamba", **SHORT),
        with_config("falcon_h1", **SHORT),
        with_config("qwen3_next", **SHORT),
        with_config("zamba2", **SHORT),
        with_config("granitemoehybrid", **SHORT, position_embedding_type="rope"),
        with_config("olmo_hybrid", **SHORT, rope_parameters=ROTARY),
    ],
    ids=str,
)
def test_rotary_positions_limit_the_tokens(family, tmp_path):
    runnable = loaded(family, tmp_path)
    assert any(is_rotary(module) for module in runnable.model.modules())
    assert runnable.most_tokens == TRAINED
    with pytest.raises(UsageError, match=rf"{TRAINED} tokens at most") as caught:
        runnable.run(family.token_ids())
    assert caught.value.hint == f"seq_len={TRAINED}"
