"""The language models of models of text and images, against the whole model on text alone."""

from __future__ import annotations

import importlib.util

import pytest
import torch

import spectrakit as sk
from spectrakit.architectures.transformers_attention import _WRAPPERS
from spectrakit.architectures.transformers_model import quiet_transformers
from spectrakit.errors import UnsupportedError

TOKENS = torch.randint(4, 60, (2, 12), generator=torch.Generator().manual_seed(0))
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
#: What configs call the sizes of a vision tower; each is set where a config has it.
IMAGES = {
    "hidden_size": 16,
    "embed_dim": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "depth": 1,
    "num_attention_heads": 2,
    "num_heads": 2,
    "image_size": 28,
    "patch_size": 14,
    "out_hidden_size": 32,
    "projection_dim": 32,
    "output_channels": 16,
    "deepstack_visual_indexes": [0],
    "fullatt_block_indexes": [0],
    "mlp_dim": 16,
    "global_attn_indexes": [0],
}
#: Whose vision tower is of the library timm, or whose config takes no such sizes.
NOT_MADE = {"fast_vlm", "perception_lm", "gemma4", "internvl", "qianfan_ocr", "mistral3"}
CASES = sorted(set(_WRAPPERS) - NOT_MADE - {"paligemma"})


def tiny(model_type):
    """A whole model at a tiny size, with random weights."""
    from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

    usual = CONFIG_MAPPING[model_type]()
    sizes = {key: value for key, value in TEXT.items() if hasattr(usual.text_config, key)}
    text = CONFIG_MAPPING[usual.text_config.model_type](**sizes)
    if model_type.startswith("qwen2"):
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
        text.rope_parameters = rope
    sections = {"text_config": text}
    images = getattr(usual, "vision_config", None)
    if images is not None:
        for key, value in IMAGES.items():
            if getattr(images, key, None) is not None:
                setattr(images, key, value)
        sections["vision_config"] = images
    config = CONFIG_MAPPING[model_type](**sections)
    for key in ("image_token_index", "image_token_id", "video_token_id", "vision_start_token_id"):
        if hasattr(config, key):
            setattr(config, key, 3)  # no token of the text
    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(config).eval().float()


@pytest.mark.parametrize("model_type", CASES)
def test_the_text_part_is_that_of_the_whole(model_type, tmp_path):
    with quiet_transformers():
        whole = tiny(model_type)
        whole.save_pretrained(tmp_path)
        with torch.no_grad():
            mask = torch.ones_like(TOKENS)
            out = whole(input_ids=TOKENS, attention_mask=mask, output_hidden_states=True)
    places = torch.arange(TOKENS.shape[1])[None].repeat(len(TOKENS), 1)
    with sk.open_checkpoint(str(tmp_path)) as model:
        assert [layer.kind for layer in model.layers] == ["softmax_attention"] * 2
        assert not model.unknown_keys
        running = model.architecture.load(model.checkpoint, "cpu")
        scores = running.logits(TOKENS, places)
        states = []
        running.run(TOKENS, on_states=lambda depth, hidden: states.append(hidden))
    if scores is not None:  # some text parts have no class with a head
        torch.testing.assert_close(scores, out.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(states[1], out.hidden_states[1], rtol=1e-4, atol=1e-4)


def test_every_family_is_made_or_said_why_not():
    if importlib.util.find_spec("timm") is None:
        assert set(_WRAPPERS) >= NOT_MADE


def test_attention_that_sees_what_comes_after_is_refused(tmp_path):
    """PaliGemma's: every token of a prompt sees all of it."""
    with quiet_transformers():
        tiny("paligemma").save_pretrained(tmp_path)
    with (
        sk.open_checkpoint(str(tmp_path)) as model,
        pytest.raises(UnsupportedError, match="is not causal"),
    ):
        model.architecture.load(model.checkpoint, "cpu").run(TOKENS, lambda *_: None)
