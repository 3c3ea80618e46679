"""Tiny encoder-decoders of transformers, with weights far from their initial values."""

from __future__ import annotations

from pathlib import Path

import torch

from spectrakit.architectures.transformers_model import quiet_transformers

_LIKE_BART = {
    "vocab_size": 40, "d_model": 8, "encoder_layers": 3, "decoder_layers": 2,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
_LIKE_T5 = {
    "vocab_size": 40, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 3,
    "num_decoder_layers": 2, "num_heads": 2,
}  # fmt: skip
SMALL = {
    **dict.fromkeys(("bart", "marian", "mbart", "m2m_100", "pegasus"), _LIKE_BART),
    **dict.fromkeys(("t5", "mt5", "umt5"), _LIKE_T5),
}
WHISPER = _LIKE_BART | {"max_source_positions": 8, "max_target_positions": 8}
TOKENS = torch.randint(3, 40, (2, 12), generator=torch.Generator().manual_seed(0))


def made(model_type: str) -> torch.nn.Module:
    """A model with eager attention, which gives its weights."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    with quiet_transformers():
        config = AutoConfig.for_model(model_type, **SMALL[model_type])
        config._attn_implementation = "eager"
        model = AutoModelForSeq2SeqLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:  # sinusoids of Marian's, which no file has
                parameter += 0.3 * torch.randn_like(parameter)
    return model


def write(model_type: str, folder: Path) -> Path:
    """The model as transformers saves it."""
    with quiet_transformers():
        made(model_type).save_pretrained(folder)
    return folder
