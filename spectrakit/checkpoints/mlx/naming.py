"""What mlx-lm calls otherwise than transformers, by family, and what it joins or splits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrakit.checkpoints.turns import Joined, RowsScaled, Scaled, Shifted
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


#: By which key of its config mlx-lm multiplies which weights of Falcon-H1; in a list, which entry.
_FOLDED = {
    "embed_tokens.weight": ("embedding_multiplier", None),
    "lm_head.weight": ("lm_head_multiplier", None),
    "q_proj.weight": ("attention_in_multiplier", None),
    "k_proj.weight": ("attention_in_multiplier", None),
    "o_proj.weight": ("attention_out_multiplier", None),
    "out_proj.weight": ("ssm_out_multiplier", None),
    "gate_proj.weight": ("mlp_multipliers", 0),
    "down_proj.weight": ("mlp_multipliers", 1),
}
_SSM_ROWS = 5  # gates, inputs, B, C, steps: each part of in_proj has a multiplier


def rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Those of a family; of any other, those of experts."""
    model_type = config.get("model_type")
    if model_type == "falcon_h1":
        return tuple(_falcon_h1(config))
    return _BY_FAMILY.get(model_type, _EXPERTS) if isinstance(model_type, str) else _EXPERTS


def _falcon_h1(config: Mapping[str, Any]) -> Iterator[Rule]:
    """Multipliers of the config that are in the weights already, divided out.

    Raises ValueError where one is no number that can be divided by.
    """
    for name, (key, entry) in _FOLDED.items():
        value = config.get(key, 1.0)
        factor = value[entry] if entry is not None and isinstance(value, list) else value
        if factor is not None:
            yield Rule((name,), name, Scaled(1 / _factor(factor)))
    parts = config.get("ssm_multipliers") or [1.0] * _SSM_ROWS
    whole = _factor(config.get("ssm_in_multiplier", 1.0))
    inner = config.get("mamba_d_ssm") or config["mamba_expand"] * config["hidden_size"]
    shared = config["mamba_n_groups"] * config["mamba_d_state"]
    sizes = (inner, inner, shared, shared, config["mamba_n_heads"])
    rows = tuple((n, 1 / (whole * _factor(m))) for n, m in zip(sizes, parts, strict=True))
    yield Rule(("in_proj.weight",), "in_proj.weight", RowsScaled(rows))


def _factor(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value:
        raise ValueError
    return float(value)
