"""Hybrids of Mamba or Mamba-2 with softmax attention, and LFM2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.gguf.families.common import (
    ATTENTION_NAMES,
    OUTSIDE,
    RMS_EPSILON,
    attention_keys,
    expansion,
    expert_parts,
    key_value_heads,
    layer_types,
    mamba2_keys,
    mamba2_parts,
    mamba_names,
    mamba_parts,
    rotary_keys,
    rotary_parts,
    size_keys,
)
from spectrakit.checkpoints.gguf.naming import GGUFFamily, Naming, Part
from spectrakit.checkpoints.turns import Depthwise, Joined
from spectrakit.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectrakit.checkpoints.gguf.metadata import Metadata

_FINAL_NORM = OUTSIDE | {"output_norm": "model.final_layernorm"}
_FEED_FORWARD = {
    "ffn_norm": "pre_ff_layernorm",
    "ffn_gate": "feed_forward.gate_proj",
    "ffn_up": "feed_forward.up_proj",
    "ffn_down": "feed_forward.down_proj",
}


def _every(metadata: Metadata, at: list[int], what: str) -> tuple[int, int]:
    """Period and offset of the layers `at`, which is how Jamba's config says them."""
    offset = at[0] if at else metadata.blocks
    period = at[1] - at[0] if len(at) > 1 else metadata.blocks + 1
    if at != list(range(offset, metadata.blocks, period)):
        message = f"{metadata.file}: the {what} layers {at} are not evenly spaced, as Jamba's are"
        raise UnsupportedError(message, hint="use the model before it was converted")
    return period, offset


def _jamba(metadata: Metadata) -> dict[str, Any]:
    blocks = range(metadata.blocks)
    attention = [i for i in blocks if metadata.in_block(i, "attn_q.weight")]
    experts = [i for i in blocks if metadata.in_block(i, "ffn_gate_inp.weight")]
    attention_period, attention_offset = _every(metadata, attention, "attention")
    expert_period, expert_offset = _every(metadata, experts, "expert")
    keys = attention_keys(metadata)
    return size_keys(metadata) | {
        "model_type": "jamba",
        "num_attention_heads": keys["num_attention_heads"],
        "num_key_value_heads": keys["num_key_value_heads"],
        "intermediate_size": max(metadata.per_block("feed_forward_length"), default=0),
        "rms_norm_eps": metadata.number(RMS_EPSILON),
        "max_position_embeddings": metadata.count("context_length"),
        "attn_layer_period": attention_period,
        "attn_layer_offset": attention_offset,
        "expert_layer_period": expert_period,
        "expert_layer_offset": expert_offset,
        "num_experts": metadata.count("expert_count"),
        "num_experts_per_tok": metadata.count("expert_used_count"),
        "mamba_d_state": metadata.count("ssm.state_size"),
        "mamba_d_conv": metadata.count("ssm.conv_kernel"),
        "mamba_expand": expansion(metadata),
        "mamba_dt_rank": metadata.count("ssm.time_step_rank"),
        "mamba_conv_bias": metadata.has("ssm_conv1d.bias"),
        "mamba_proj_bias": metadata.has("ssm_in.bias"),
    }


def _jamba_naming(_: Metadata) -> Naming:
    inside = {
        "attn_norm": "input_layernorm",
        "ffn_gate_inp": "feed_forward.router",
        "ssm_dt_norm": "mamba.dt_layernorm",
        "ssm_b_norm": "mamba.b_layernorm",
        "ssm_c_norm": "mamba.c_layernorm",
        **_FEED_FORWARD,
        **ATTENTION_NAMES,
        **mamba_names("mamba"),
    }
    return Naming("model.layers.", _FINAL_NORM, inside, _jamba_parts)


def _jamba_parts(metadata: Metadata, index: int) -> Iterator[Part]:  # noqa: ARG001
    yield from mamba_parts("mamba")
    yield from expert_parts("feed_forward.experts")


def _falcon_h1(metadata: Metadata) -> dict[str, Any]:
    """The converter multiplies the weights by the config's multipliers, which are 1 then."""
    keys = attention_keys(metadata)
    return (
        size_keys(metadata)
        | keys
        | mamba2_keys(metadata)
        | rotary_keys(metadata)
        | {
            "model_type": "falcon_h1",
            "intermediate_size": metadata.count("feed_forward_length"),
            "rms_norm_eps": metadata.number(RMS_EPSILON),
            "mamba_d_ssm": metadata.count("ssm.inner_size"),
            "mamba_rms_norm": metadata.has("ssm_norm.weight"),
            "projectors_bias": metadata.has("ssm_out.bias"),
            "mlp_bias": metadata.has("ffn_down.bias"),
            # The class multiplies keys, and attention by 1 / sqrt of the width, as others do.
            "mlp_multipliers": [1.0, 1.0],
            "ssm_multipliers": [1.0] * 5,
        }
    )


def _falcon_h1_naming(_: Metadata) -> Naming:
    inside = {
        "attn_norm": "input_layernorm",
        **_FEED_FORWARD,
        **ATTENTION_NAMES,
        **mamba_names("mamba"),
    }
    return Naming("model.layers.", _FINAL_NORM, inside, lambda *_: mamba2_parts("mamba"))


def _is_bamba(metadata: Metadata) -> bool:
    """Of the two models of this architecture, Bamba alone has rotary embeddings."""
    return metadata.flag("rope.scaling.finetuned")


def _granite_hybrid(metadata: Metadata) -> dict[str, Any]:
    shared = (
        size_keys(metadata)
        | attention_keys(metadata)
        | mamba2_keys(metadata)
        | {"rms_norm_eps": metadata.number(RMS_EPSILON), "mamba_expand": expansion(metadata)}
    )
    if _is_bamba(metadata):
        width = shared["hidden_size"] // max(1, shared["num_attention_heads"])
        attention = [i for i, heads in enumerate(key_value_heads(metadata)) if heads]
        return (
            shared
            | rotary_keys(metadata, width)
            | {
                "model_type": "bamba",
                "intermediate_size": max(metadata.per_block("feed_forward_length"), default=0),
                "attn_layer_indices": attention,
            }
        )
    experts = metadata.count("expert_count", 0)
    return shared | {
        "model_type": "granitemoehybrid",
        "intermediate_size": max(metadata.per_block("feed_forward_length"), default=0),
        "shared_intermediate_size": _shared_width(metadata),
        "num_local_experts": experts,
        "num_experts_per_tok": metadata.count("expert_used_count", 0),
        "layer_types": layer_types(metadata, "mamba", "attention"),
        "max_position_embeddings": metadata.count("context_length"),
        "position_embedding_type": None,
        "embedding_multiplier": metadata.number("embedding_scale", 1.0),
        "residual_multiplier": metadata.number("residual_scale", 1.0),
        "attention_multiplier": metadata.number("attention.scale", 1.0),
        "logits_scaling": metadata.number("logit_scale", 1.0),
    }


def _shared_width(metadata: Metadata) -> int:
    """Of the feed-forward part that every token goes through."""
    for name in ("ffn_up_shexp.weight", "ffn_up.weight"):
        if metadata.in_block(0, name):
            return metadata.shape(f"blk.0.{name}", 2)[0]
    return 0


def _granite_hybrid_naming(metadata: Metadata) -> Naming:
    inside = {"attn_norm": "input_layernorm", **ATTENTION_NAMES, **mamba_names("mamba")}
    if _is_bamba(metadata):
        return Naming("model.layers.", _FINAL_NORM, inside | _FEED_FORWARD, _bamba_parts)
    granite = {
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate_inp": "block_sparse_moe.router.layer",
        "ffn_down": "shared_mlp.output_linear",
        "ffn_down_shexp": "shared_mlp.output_linear",
        "ffn_down_exps": "block_sparse_moe.output_linear",
    }
    return Naming("model.layers.", OUTSIDE, inside | granite, _granite_parts)


def _bamba_parts(metadata: Metadata, index: int) -> Iterator[Part]:
    yield from mamba2_parts("mamba")
    yield from rotary_parts(metadata, index)


def _granite_parts(metadata: Metadata, index: int) -> Iterator[Part]:
    yield from _bamba_parts(metadata, index)
    for end in ("", "_shexp"):
        halves = (f"ffn_gate{end}.weight", f"ffn_up{end}.weight")
        yield Part("shared_mlp.input_linear.weight", halves, Joined(-2))
    halves = ("ffn_gate_exps.weight", "ffn_up_exps.weight")
    yield Part("block_sparse_moe.input_linear.weight", halves, Joined(-2))


def _lfm2(metadata: Metadata) -> dict[str, Any]:
    kinds = [
        "conv" if metadata.in_block(index, "shortconv.conv.weight") else "full_attention"
        for index in range(metadata.blocks)
    ]
    keys = attention_keys(metadata)
    return (
        size_keys(metadata)
        | rotary_keys(metadata)
        | {
            "model_type": "lfm2",
            "num_attention_heads": keys["num_attention_heads"],
            "num_key_value_heads": keys["num_key_value_heads"],
            "intermediate_size": max(metadata.per_block("feed_forward_length"), default=0),
            "block_auto_adjust_ff_dim": False,
            "norm_eps": metadata.number(RMS_EPSILON),
            "layer_types": kinds,
            "conv_L_cache": metadata.count("shortconv.l_cache"),
            "conv_bias": metadata.has("shortconv.in_proj.bias"),
        }
    )


def _lfm2_naming(_: Metadata) -> Naming:
    inside = {
        "attn_norm": "operator_norm",
        "ffn_norm": "ffn_norm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.out_proj",
        "attn_q_norm": "self_attn.q_layernorm",
        "attn_k_norm": "self_attn.k_layernorm",
        "ffn_gate": "feed_forward.w1",
        "ffn_down": "feed_forward.w2",
        "ffn_up": "feed_forward.w3",
        "shortconv.in_proj": "conv.in_proj",
        "shortconv.out_proj": "conv.out_proj",
        "shortconv.conv": "conv.conv",
    }
    outside = {
        "token_embd": "model.embed_tokens",
        "token_embd_norm": "model.embedding_norm",
        "output_norm": "model.embedding_norm",
        "output": "lm_head",
    }
    convolution = Part("conv.conv.weight", ("shortconv.conv.weight",), Depthwise())
    return Naming("model.layers.", outside, inside, lambda *_: iter((convolution,)))


HYBRIDS = (
    GGUFFamily(("jamba",), _jamba, _jamba_naming),
    GGUFFamily(("falcon-h1",), _falcon_h1, _falcon_h1_naming),
    GGUFFamily(("granitehybrid",), _granite_hybrid, _granite_hybrid_naming),
    GGUFFamily(("lfm2",), _lfm2, _lfm2_naming),
)
