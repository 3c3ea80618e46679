"""What mlx-lm calls otherwise than transformers, by family, and what it joins or splits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit.checkpoints.turns import Joined, Shifted
from spectrakit.checkpoints.value_heads import KeysAndValues

if TYPE_CHECKING:
    from spectrakit.checkpoints.turns import Turn


@dataclass(frozen=True)
class Rule:
    """A tensor of transformers, made of some of MLX.

    names: of those, the module in front of each left out; name: of the tensor. turn: what is done;
    None for another name alone. only: a pattern that the module has to match.
    """

    names: tuple[str, ...]
    name: str
    turn: Turn | None = None
    only: str = r".*"


_HALVES = ("switch_mlp.gate_proj.weight", "switch_mlp.up_proj.weight")
_EXPERTS = (
    Rule(_HALVES, "experts.gate_up_proj", Joined(-2)),
    Rule(("switch_mlp.down_proj.weight",), "experts.down_proj"),
    Rule(("switch_mlp.fc1.weight",), "experts.up_proj"),
    Rule(("switch_mlp.fc2.weight",), "experts.down_proj"),
)
#: Granite's, which has all experts in one tensor itself, and names of its own for the dense part.
_GRANITE = (
    Rule(_HALVES, "input_linear.weight", Joined(-2)),
    Rule(("switch_mlp.down_proj.weight",), "output_linear.weight"),
    Rule(
        ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
        "shared_mlp.input_linear.weight",
        Joined(-2),
    ),
    Rule(("mlp.down_proj.weight",), "shared_mlp.output_linear.weight"),
)
#: Norms that multiply by 1 + weight, which mlx-lm has as one factor.
_SHIFTED = (
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
    "q_norm.weight",
    "k_norm.weight",
)
_QWEN = (
    *_EXPERTS,
    *(Rule((name,), name, Shifted()) for name in _SHIFTED),
    Rule(("norm.weight",), "norm.weight", Shifted(), only=r"model"),
)
_MOE = "block_sparse_moe"
_KIMI = (
    Rule(tuple(f"mlp.{name}" for name in _HALVES), f"{_MOE}.experts.gate_up_proj", Joined(-2)),
    Rule(("mlp.switch_mlp.down_proj.weight",), f"{_MOE}.experts.down_proj"),
    Rule(("mlp.gate.weight",), f"{_MOE}.gate.weight"),
    Rule(("mlp.e_score_correction_bias",), f"{_MOE}.gate.e_score_correction_bias"),
    *(
        Rule((f"mlp.{part}{name}_proj.weight",), f"{_MOE}.{part}{name}_proj.weight")
        for part in ("", "shared_experts.")
        for name in ("gate", "up", "down")
    ),
    *(Rule((f"{letter}_conv.conv.weight",), f"{letter}_conv1d.weight") for letter in "qkv"),
    Rule(("embed_q.weight", "unembed_out.weight"), "kv_b_proj.weight", KeysAndValues()),
)
_BY_FAMILY: Mapping[str, tuple[Rule, ...]] = {
    "granitemoehybrid": _GRANITE,
    "qwen3_next": _QWEN,
    "kimi_linear": _KIMI,
}
#: Kernels of convolutions, whose channels MLX has last.
KERNEL = re.compile(r"(.*[._])?conv(_?1d)?\.weight")


def rules(model_type: object) -> tuple[Rule, ...]:
    """Those of a family; of any other, those of experts."""
    return _BY_FAMILY.get(model_type, _EXPERTS) if isinstance(model_type, str) else _EXPERTS
