"""Attention in running models: masks, padding, files under other names, what is no recurrence."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

import spectrakit as sk
from spectrakit.architectures.attention_interface import MaskFunction
from spectrakit.errors import AnalysisError, UnsupportedError, UsageError
from spectrakit.mixers.log_normaliser import attend
from tests.families.attention import FAMILIES
from tests.families.base import Family, observe
from tests.mixers.test_mamba import assert_within

CASES = {str(family): family for family in FAMILIES}

#: One of each way to be seen, and of each kind of mask.
CHOSEN = (
    "llama",
    "mistral",
    "gemma2",
    "gpt_oss",
    "falcon-alibi",
    "bloom",
    "gpt_neo",
    "deepseek_v3",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a family's tiny model, written once."""
    folders = {}

    def write(name):
        if name not in folders:
            folders[name] = CASES[name].write(tmp_path_factory.mktemp("models") / name)
        return folders[name]

    return write


def log_decays(folder, tokens, valid=None):
    with sk.open_checkpoint(str(folder)) as model:
        seen = observe(model, tokens, valid)
    return [observation.recurrence.operator.log_decay for _, observation in seen]


def eager_scores(folder, tokens):
    """Softmax weights of every layer as the eager model itself returns them: (B, H, T, T)."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model.eval()(tokens, output_attentions=True, use_cache=False).attentions


# Falcon's eager attention adds ALiBi twice, and so is not what the model runs.
@pytest.mark.parametrize("name", [name for name in CHOSEN if name != "falcon-alibi"])
def test_weights_are_those_the_eager_model_returns(written, name):
    """... so scores, mask and normaliser are its own: w_tj = exp(s_tj - LSE_t)."""
    folder, tokens = written(name), CASES[name].token_ids()
    with sk.open_checkpoint(str(folder)) as model:
        seen = observe(model, tokens)
    for (_, observation), expected in zip(seen, eager_scores(folder, tokens), strict=True):
        scores = observation.recurrence.output_map.scores.rows(0, tokens.shape[1])
        normaliser = observation.recurrence.log_normaliser.transpose(1, 2).unsqueeze(-1)
        torch.testing.assert_close((scores - normaliser).exp().float(), expected,
                                   rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CHOSEN if name != "gpt_neo"])
def test_padding_before_the_text_changes_nothing(written, name):
    """Where positions are rotary embeddings or ALiBi, which know only distances."""
    padding = 5
    tokens = CASES[name].token_ids()
    padded = torch.nn.functional.pad(tokens, (padding, 0), value=3)
    valid = torch.ones_like(padded, dtype=torch.bool)
    valid[:, :padding] = False
    with sk.open_checkpoint(str(written(name))) as model:
        alone, beside = observe(model, tokens), observe(model, padded, valid)
    for (_, one), (_, other) in zip(alone, beside, strict=True):
        expected = one.recurrence.operator.log_decay
        found = other.recurrence.operator.log_decay[:, padding:]
        first = 0 if one.recurrence.starts is None else 1
        torch.testing.assert_close(found[:, first:], expected[:, first:], rtol=1e-3, atol=2e-4)
        assert not other.recurrence.log_normaliser.isnan().any()
        y = other.output()
        assert not y.isnan().any()
        assert_within(y[:, padding:], other.outputs[:, padding:], 1e-4)
        if one.recurrence.starts is not None:
            starts = other.recurrence.starts
            assert starts[:, : padding + 1].all()
            assert not starts[:, padding + 1 :].any()


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_more_tokens_than_positions_are_refused(written, name, tmp_path):
    family = CASES[name]
    config = {**family.config, "max_position_embeddings": 16}
    folder = Family(name, family.kinds, config).write(tmp_path / name)
    with sk.open_checkpoint(str(folder)) as model, pytest.raises(UsageError) as caught:
        observe(model, torch.zeros(1, 17, dtype=torch.long))
    assert caught.value.hint == "seq_len=16"


def test_the_model_is_restored_where_the_pass_fails(written):
    for name in CHOSEN[:5]:
        with sk.open_checkpoint(str(written(name))) as model:
            runnable = model.architecture.load(model.checkpoint, "cpu")
        before = runnable.model.config._attn_implementation

        def fail(*_):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            runnable.run(CASES[name].token_ids(), fail)
        assert runnable.model.config._attn_implementation == before


@pytest.mark.parametrize(
    ("name", "awaited"),
    [
        ("llama", "calls of AttentionInterface"),
        ("bloom", "softmax over the scores"),
        ("falcon", "causal calls of scaled_dot_product_attention"),
    ],
)
def test_a_layer_that_recorded_nothing_is_an_error(written, name, awaited):
    with sk.open_checkpoint(str(written(name))) as model:
        runnable = model.architecture.load(model.checkpoint, "cpu")
        attention = runnable.model.get_submodule(model.layers[1].path)
        attention.forward = lambda hidden_states, *args, **_: (hidden_states, None)
        with pytest.raises(AnalysisError, match=rf"layers \[1\] made no {awaited}"):
            runnable.run(CASES[name].token_ids(), lambda *_: None)


def test_gpt2_files_of_the_hub_lack_the_prefix_and_hold_buffers(written, tmp_path):
    """`h.0.attn.c_attn.weight`, with the causal mask saved as `h.0.attn.bias`."""
    folder, tokens = written("gpt2"), CASES["gpt2"].token_ids()
    tensors = {
        name.removeprefix("transformer."): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
        if name != "lm_head.weight"
    }
    for layer in range(2):
        mask = torch.ones(1024, 1024, dtype=torch.uint8).tril()[None, None]
        tensors[f"h.{layer}.attn.bias"] = mask
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    for found, expected in zip(
        log_decays(tmp_path, tokens), log_decays(folder, tokens), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("body", "head"),
    [("language_model.model.", "language_model."), ("model.language_model.", "")],
)
def test_the_language_model_beside_a_vision_tower(written, tmp_path, body, head):
    folder, tokens = written("gemma3_text"), CASES["gemma3_text"].token_ids()
    tensors = {
        body + name.removeprefix("model.") if name.startswith("model.") else head + name: tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    vision = "model." if not head else ""
    tensors[f"{vision}vision_tower.vision_model.embeddings.position_embedding.weight"] = (
        torch.zeros(4, 4)
    )
    tensors[f"{vision}multi_modal_projector.mm_input_projection_weight"] = torch.zeros(4, 4)
    save_file(tensors, tmp_path / "model.safetensors")
    text = json.loads((folder / "config.json").read_text())
    config = {"model_type": "gemma3", "text_config": text, "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for found, expected in zip(
        log_decays(tmp_path, tokens), log_decays(folder, tokens), strict=True
    ):
        assert torch.equal(found, expected)


def test_attention_to_later_tokens_is_no_recurrence(tmp_path):
    config = {**CASES["gemma3_text"].config, "use_bidirectional_attention": True}
    folder = Family("gemma3_text", ("softmax_attention",) * 2, config).write(tmp_path / "model")
    with (
        sk.open_checkpoint(str(folder)) as model,
        pytest.raises(UnsupportedError, match="no causal recurrence"),
    ):
        observe(model, CASES["gemma3_text"].token_ids())


def test_a_mask_of_transformers_is_evaluated_block_by_block():
    from transformers.masking_utils import sdpa_mask, sliding_window_causal_mask_function

    window = sliding_window_causal_mask_function(7)
    valid = torch.ones(2, 30, dtype=torch.bool)
    valid[1, :9] = False
    mask = MaskFunction(window, 2, 30, torch.device("cpu"), valid)
    whole = sdpa_mask(2, 30, 30, mask_function=window, attention_mask=valid,
                      allow_is_causal_skip=False)  # fmt: skip
    blocks = [mask.rows(first, min(first + 11, 30)) for first in range(0, 30, 11)]
    assert torch.equal(torch.cat(blocks, dim=2) == 0, whole)


def test_memory_grows_with_tokens_and_not_with_their_pairs():
    """The largest tensor that a windowed or capped attention makes, at twice the tokens."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from spectrakit.mixers.attention_scores import CausalMask, Scores

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            output = func(*args, **(kwargs or {}))
            for tensor in output if isinstance(output, tuple) else (output,):
                if isinstance(tensor, torch.Tensor):
                    self.elements = max(self.elements, tensor.numel())
            return output

    def largest(tokens, soft_cap):
        query, key, value = torch.randn(3, 1, 2, tokens, 4)
        mask = CausalMask(tokens, torch.device("cpu"), window=100)
        with Largest() as seen:
            attend(Scores(query, key, 0.5, mask, soft_cap), value)
        return seen.elements

    for soft_cap in (None, 30.0):
        few, many = largest(1000, soft_cap), largest(2000, soft_cap)
        assert many <= 2.1 * few
        assert many < 2000 * 2000 / 4


ENCODERS = {
    "bert": {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2},
    "distilbert": {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 16},
    "vit": {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2},
}


@pytest.mark.parametrize("model_type", ENCODERS)
def test_encoders_are_listed_with_the_reason(model_type, tmp_path):
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(model_type, intermediate_size=16, **ENCODERS[model_type])
    AutoModel.from_config(config).save_pretrained(tmp_path)
    with sk.open_checkpoint(str(tmp_path)) as model:
        assert [layer.kind for layer in model.layers] == ["attention"] * 2
        assert all("bidirectional" in layer.reason for layer in model.layers)
        with pytest.raises(UnsupportedError, match="bidirectional: every token sees all") as caught:
            sk.analyze(model, mode="data")
    assert caught.value.exit_code == 3


def test_a_spectrum_counts_no_first_token(written, tmp_path):
    """lambda of the first token would be 0: it is left out, every other one is counted."""
    import numpy as np

    from spectrakit.token_options import TokenOptions

    tokens = CASES["llama"].token_ids()
    np.save(tmp_path / "ids.npy", tokens.numpy())
    source = TokenOptions(tokens=tmp_path / "ids.npy", batch_size=2, seq_len=tokens.shape[1])
    run = sk.analyze(str(written("llama")), source=source)
    rows = [row for row in run.table("spectrum_summary").to_pylist() if row["head"] is not None]
    heads = CASES["llama"].config["num_attention_heads"]
    layers, gauges = 2, 2
    counts = [2 * (tokens.shape[1] - 1)] * layers * gauges * heads
    assert [row["count"] for row in rows] == counts
    assert {row["gauge"] for row in rows} == {"dsf", "retained"}
    assert all(math.isfinite(row["spectral_radius"]) for row in rows)
