"""What the tables of several families share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.gguf.naming import Part
from spectrakit.checkpoints.turns import (
    Depthwise,
    Joined,
    LogOfNegative,
    Reshaped,
    RotaryHalves,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectrakit.checkpoints.gguf.metadata import Metadata

RMS_EPSILON = "attention.layer_norm_rms_epsilon"
LAYER_EPSILON = "attention.layer_norm_epsilon"

ATTENTION_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
GATED_MLP_NAMES = {
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTSIDE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}


def size_keys(metadata: Metadata) -> dict[str, Any]:
    """The keys of every config: the model's width, depth and vocabulary."""
    return {
        "vocab_size": metadata.vocabulary,
        "hidden_size": metadata.count("embedding_length"),
        "num_hidden_layers": metadata.blocks,
        "tie_word_embeddings": not metadata.has("output.weight"),
    }


def attention_keys(metadata: Metadata) -> dict[str, Any]:
    """Heads of attention and their width, where the file says it."""
    keys: dict[str, Any] = {
        "num_attention_heads": max(metadata.per_block("attention.head_count"), default=0),
        "num_key_value_heads": max(key_value_heads(metadata), default=0),
        "attention_bias": metadata.has("attn_q.bias"),
    }
    width = metadata.count("attention.key_length", 0)
    return keys | ({"head_dim": width} if width else {})


def key_value_heads(metadata: Metadata) -> tuple[int, ...]:
    """Of every block; 0 where it has no attention."""
    if metadata.given("attention.head_count_kv") is None:
        return metadata.per_block("attention.head_count")
    return metadata.per_block("attention.head_count_kv")


def rotary_keys(metadata: Metadata, width: int | None = None) -> dict[str, Any]:
    """Rotary embeddings. width: of a head, where not all of it may be turned."""
    keys: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": metadata.number("rope.freq_base", 10_000.0),
    }
    kind = metadata.given("rope.scaling.type")
    if kind in ("linear", "yarn"):
        keys |= {"rope_type": kind, "factor": metadata.number("rope.scaling.factor")}
    if kind == "yarn":
        original = metadata.count("rope.scaling.original_context_length")
        keys["original_max_position_embeddings"] = original
    turned = metadata.count("rope.dimension_count", 0)
    if width and 0 < turned < width:
        keys["partial_rotary_factor"] = turned / width
    return {
        "rope_parameters": keys,
        "max_position_embeddings": metadata.count("context_length"),
    }


def layer_types(metadata: Metadata, recurrent: str, attention: str) -> list[str]:
    """For every block `recurrent` where it has a state matrix, else `attention`."""
    return [
        recurrent if metadata.in_block(index, "ssm_a") else attention
        for index in range(metadata.blocks)
    ]


def mamba_names(path: str) -> dict[str, str]:
    """Of the linear maps of Mamba and Mamba-2 in the module `path`."""
    return {
        "ssm_in": f"{path}.in_proj",
        "ssm_out": f"{path}.out_proj",
        "ssm_conv1d": f"{path}.conv1d",
        "ssm_x": f"{path}.x_proj",
        "ssm_dt": f"{path}.dt_proj",
    }


def mamba_parts(path: str) -> Iterator[Part]:
    """Mamba: A, (channels, state); the skip; the convolution."""
    yield Part(f"{path}.A_log", ("ssm_a",), LogOfNegative())
    yield Part(f"{path}.D", ("ssm_d",))
    yield Part(f"{path}.conv1d.weight", ("ssm_conv1d.weight",), Depthwise())


def mamba2_parts(path: str) -> Iterator[Part]:
    """Mamba-2: A, a number a head, which GGUF has as a column; the norm, there by groups."""
    yield Part(f"{path}.A_log", ("ssm_a",), LogOfNegative((-1,)))
    yield Part(f"{path}.D", ("ssm_d",), Reshaped((-1,)))
    yield Part(f"{path}.dt_bias", ("ssm_dt.bias",))
    yield Part(f"{path}.conv1d.weight", ("ssm_conv1d.weight",), Depthwise())
    yield Part(f"{path}.norm.weight", ("ssm_norm.weight",), Reshaped((-1,)))


def mamba2_keys(metadata: Metadata) -> dict[str, Any]:
    """The sizes of Mamba-2 as the hybrids' configs call them."""
    heads, inner = metadata.count("ssm.time_step_rank"), metadata.count("ssm.inner_size")
    if not heads or inner % heads:
        raise metadata.malformed("ssm.time_step_rank", heads)
    return {
        "mamba_n_heads": heads,
        "mamba_d_head": inner // heads,
        "mamba_n_groups": metadata.count("ssm.group_count"),
        "mamba_d_state": metadata.count("ssm.state_size"),
        "mamba_d_conv": metadata.count("ssm.conv_kernel"),
        "mamba_conv_bias": metadata.has("ssm_conv1d.bias"),
        "mamba_proj_bias": metadata.has("ssm_in.bias"),
    }


def expansion(metadata: Metadata) -> float | int:
    """Channels of the state space by the model's width."""
    inner, width = metadata.count("ssm.inner_size"), metadata.count("embedding_length")
    if not width:
        raise metadata.malformed("embedding_length", width)
    return inner // width if inner % width == 0 else inner / width


def expert_keys(metadata: Metadata) -> dict[str, Any]:
    """Experts, and the one that every token goes through, as Qwen's configs call them."""
    keys = {
        "num_experts": metadata.count("expert_count"),
        "num_experts_per_tok": metadata.count("expert_used_count"),
        "moe_intermediate_size": metadata.count("expert_feed_forward_length"),
    }
    shared = metadata.count("expert_shared_feed_forward_length", 0)
    return keys | ({"shared_expert_intermediate_size": shared} if shared else {})


def shared_expert_names(path: str) -> dict[str, str]:
    """Of the router in the module `path`, and of the expert that every token goes through."""
    return {
        "ffn_gate_inp": f"{path}.gate",
        "ffn_gate_shexp": f"{path}.shared_expert.gate_proj",
        "ffn_up_shexp": f"{path}.shared_expert.up_proj",
        "ffn_down_shexp": f"{path}.shared_expert.down_proj",
    }


def shared_expert_gate(path: str) -> Part:
    """One row, which some versions of GGUF have as a vector."""
    gate = ("ffn_gate_inp_shexp.weight",)
    return Part(f"{path}.shared_expert_gate.weight", gate, Reshaped((1, -1)))


def expert_parts(path: str) -> Iterator[Part]:
    """Experts, all of a layer in one tensor: gate and up one after the other, and down."""
    gate_and_up = ("ffn_gate_exps.weight", "ffn_up_exps.weight")
    yield Part(f"{path}.gate_up_proj", gate_and_up, Joined(-2))
    yield Part(f"{path}.gate_up_proj", ("ffn_gate_up_exps.weight",))
    yield Part(f"{path}.down_proj", ("ffn_down_exps.weight",))


def rotary_parts(metadata: Metadata, index: int, path: str = "self_attn") -> Iterator[Part]:
    """Queries and keys, whose rows the converter orders as ggml turns them."""
    heads = metadata.per_block("attention.head_count")[index]
    for letter, count in (("q", heads), ("k", key_value_heads(metadata)[index])):
        for end in ("weight", "bias"):
            source = f"attn_{letter}.{end}"
            yield Part(f"{path}.{letter}_proj.{end}", (source,), RotaryHalves(count))
