"""What RWKV-6 and RWKV-7 are checked on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from spectrakit.testing import CheckpointExample
from spectrakit_fla.examples import rwkv_references as references
from spectrakit_fla.examples.files import MLP_WIDTH, VOCABULARY, Shapes, tokens, write_files
from spectrakit_fla.examples.linear import WIDTH, layer
from spectrakit_fla.mixers.rwkv6 import RWKV6Layer
from spectrakit_fla.mixers.rwkv7 import RWKV7Layer

if TYPE_CHECKING:
    from spectrakit.testing import Example

LAYERS = (
    layer(
        "rwkv6",
        RWKV6Layer(
            heads=2, state_size=5, head_width=4, model_width=WIDTH, mix_rank=3, decay_rank=7
        ),
        references.rwkv6,
    ),
    layer(
        "rwkv7",
        RWKV7Layer(
            heads=2, state_size=5, head_width=4, model_width=WIDTH, decay_rank=3, rate_rank=7,
            gate_rank=8, value_rank=None, norm_epsilon=5e-5,
        ),
        references.rwkv7,
    ),
    layer(
        "rwkv7, not fused",
        RWKV7Layer(
            heads=2, state_size=5, head_width=4, model_width=WIDTH, decay_rank=3, rate_rank=7,
            gate_rank=8, value_rank=None, norm_epsilon=5e-5, fused=False,
        ),
        references.rwkv7,
    ),
)  # fmt: skip

RWKV6 = {
    "x_proj.0.mu": (12,),
    "x_proj.0.linear.weight": (25, 12),
    "x_proj.2.weight": (12, 25),
    "x_bias": (5, 12),
    "r_proj.linear.weight": (6, 12),
    "w_proj.linear.lora.0.weight": (7, 12),
    "w_proj.linear.lora.2.weight": (6, 7),
    "w_proj.linear.lora.2.bias": (6,),
    "k_proj.linear.weight": (6, 12),
    "v_proj.linear.weight": (24, 12),
    "g_proj.linear.weight": (24, 12),
    "bonus": (3, 2),
    "g_norm.weight": (24,),
    "g_norm.bias": (24,),
    "o_proj.weight": (12, 24),
}
RWKV6_CHANNEL = {
    "key.mu": (12,),
    "key.linear.weight": (MLP_WIDTH, 12),
    "value.weight": (12, MLP_WIDTH),
    "receptance.mu": (12,),
    "receptance.linear.weight": (12, 12),
}
RWKV7_FIRST = {
    **{f"x_{letter}": (1, 1, 12) for letter in "rwkvag"},
    "k_k": (12,),
    "k_a": (12,),
    "r_k": (3, 4),
    "r_proj.weight": (12, 12),
    "k_proj.weight": (12, 12),
    "v_proj.weight": (24, 12),
    "o_proj.weight": (12, 24),
    "w_lora.lora.0.weight": (5, 12),
    "w_lora.lora.2.weight": (12, 5),
    "w_lora.lora.2.bias": (12,),
    "a_lora.lora.0.weight": (7, 12),
    "a_lora.lora.2.weight": (12, 7),
    "a_lora.lora.2.bias": (12,),
    "g_lora.lora.0.weight": (8, 12),
    "g_lora.lora.2.weight": (24, 8),
    "g_norm.weight": (24,),
    "g_norm.bias": (24,),
}
RWKV7_LATER = {
    **RWKV7_FIRST,
    "v_lora.lora.0.weight": (9, 12),
    "v_lora.lora.2.weight": (24, 9),
    "v_lora.lora.2.bias": (24,),
}
RWKV7_CHANNEL = {"x_k": (12,), "key.weight": (MLP_WIDTH, 12), "value.weight": (12, MLP_WIDTH)}


def model(
    model_type: str, config: Mapping[str, Any], mixers: tuple[Shapes, ...], channel: Shapes
) -> CheckpointExample:
    """A tiny model of RWKV, with one of `mixers` in every layer, and `channel` in all of them."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embeddings.weight": (VOCABULARY, 12),
        "lm_head.weight": (VOCABULARY, 12),
    }
    norms = ["model.norm", "model.layers.0.pre_norm"]
    for number, mixer in enumerate(mixers):
        block = f"model.layers.{number}"
        norms += [f"{block}.attn_norm", f"{block}.ffn_norm"]
        shapes |= {f"{block}.attn.{name}": shape for name, shape in mixer.items()}
        shapes |= {f"{block}.ffn.{name}": shape for name, shape in channel.items()}
    shapes |= {f"{norm}.{part}": (12,) for norm in norms for part in ("weight", "bias")}
    sizes = {
        "model_type": model_type,
        "num_hidden_layers": len(mixers),
        "vocab_size": VOCABULARY,
        "hidden_size": 12,
        "intermediate_size": MLP_WIDTH,
    }
    return CheckpointExample(
        model_type,
        "fla-linear-attention",
        (model_type,) * len(mixers),
        partial(write_files, config=sizes | dict(config), shapes=shapes),
        tokens(),
    )


MODELS = (
    model(
        "rwkv6",
        {"num_heads": 3, "expand_v": 2.0, "proj_low_rank_dim": 5, "gate_low_rank_dim": 7},
        (RWKV6,) * 2,
        RWKV6_CHANNEL,
    ),
    model(
        "rwkv7",
        {"head_dim": 4, "value_dim": [24, 24], "decay_low_rank_dim": 5, "a_low_rank_dim": 7,
         "gate_low_rank_dim": 8, "v_low_rank_dim": 9},
        (RWKV7_FIRST, RWKV7_LATER),
        RWKV7_CHANNEL,
    ),
)  # fmt: skip

RWKV_EXAMPLES: tuple[Example, ...] = (*LAYERS, *MODELS)
