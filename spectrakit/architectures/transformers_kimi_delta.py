"""Checkpoints of transformers with Kimi delta attention among attention: Kimi Linear, GLM-5 Next
and Bailing Hybrid (Ling 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit.architectures.attention import attention_part
from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.equations import Departure
from spectrakit.architectures.taps import unknown_transformers
from spectrakit.architectures.transformers_delta import (
    DELTA_NAMES,
    KIMI_DELTA_RULE,
    attention_in_every,
    blocks_by_type,
    text_config,
)
from spectrakit.architectures.transformers_family import (
    BLOCK_TYPES,
    Block,
    Part,
    PartConfig,
    TransformersArchitecture,
)
from spectrakit.errors import MalformedError
from spectrakit.mixers import KimiDelta

if TYPE_CHECKING:
    from torch import Tensor, nn

    from spectrakit.checkpoints import TensorSource


#: Where the parameters lie in the models that transformers makes of the files.
LOADED_NAMES = {role: f"forget_gate.{name}" for role, name in DELTA_NAMES.items()}


class TransformersKimiLinear(TransformersArchitecture):
    """`model_type` kimi_linear."""

    name: ClassVar[str] = "transformers-kimi-linear"
    model_types: ClassVar[tuple[str, ...]] = ("kimi_linear",)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        linear_attn_config.full_attn_layers linear_attn_config.gate_lower_bound
        linear_attn_config.head_dim linear_attn_config.kda_layers linear_attn_config.num_heads
        linear_head_dim linear_num_heads num_attention_heads
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words("head_dim rope_theta")
    fixed: ClassVar[Mapping[str, object]] = {
        "mla_use_nope": True,
        "moe_layer_freq": 1,
        "moe_router_activation_func": "sigmoid",
        "topk_method": "noaux_tc",
        "use_grouped_topk": True,
    }
    departures: ClassVar[tuple[Departure, ...]] = (
        Departure(
            ("kimi_linear",),
            what="the gate under `linear_attn_config.gate_lower_bound`",
            own="bound sigmoid(exp(A_log) (f + dt_bias)) (fla, fla/ops/kda/gate.py)",
            port="transformers 5.23: -exp(A_log) softplus(f + dt_bias), the key is not looked at",
            follows="the published model",
            why="the weights were trained under the bounded gate",
            matters=lambda config: _bound_in(config) is not None,
        ),
    )
    default_blocks: ClassVar[int | None] = 27
    rotary_at_most: ClassVar[bool] = True

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Kimi delta attention, and latent attention where the config says so."""
        heads, width = _linear_sizes(config, heads=32)
        bound = _kimi_lower_bound(config)
        mixer = KimiDelta(heads, width, width, rate_shape=(1, 1, heads, 1), lower_bound=bound)
        amend = None if bound is None else bounded_gate(mixer)
        delta = Part(
            "self_attn", mixer, KIMI_DELTA_RULE, DELTA_NAMES, loaded_names=LOADED_NAMES, amend=amend
        )
        attention = attention_part("self_attn", positive(config, "num_attention_heads", 32))
        usual = _kimi_layer_types(config, self.count(config))
        return blocks_by_type(config, usual, delta, attention)


def _kimi_lower_bound(config: Configured) -> float | None:
    bound = _bound_in(config.config)
    return (
        None if bound is None else _negative(config, "linear_attn_config.gate_lower_bound", bound)
    )


def _bound_in(config: Mapping[str, Any]) -> object:
    return (config.get("linear_attn_config") or {}).get("gate_lower_bound")


def bounded_gate(mixer: KimiDelta) -> Callable[[nn.Module], None]:
    """Has the gate of a Kimi Linear module of transformers, which knows no bound, keep `mixer`'s.

    Raises UnsupportedError, when called, for a module whose gate is another one.
    """

    def amend(module: nn.Module) -> None:
        gate: Any = getattr(module, "forget_gate", None)
        if not all(hasattr(gate, name) for name in ("f_a_proj", "f_b_proj", "dt_bias", "A_log")):
            raise unknown_transformers(f"{type(module).__name__} has no forget_gate known here")

        def forward(hidden: Tensor) -> Tensor:
            biased = gate.f_b_proj(gate.f_a_proj(hidden)).float() + gate.dt_bias.float()
            rate = gate.A_log.float().exp().reshape(mixer.heads, 1)
            return mixer.decay_gate(rate, biased.unflatten(-1, (mixer.heads, mixer.state_size)))

        gate.forward = forward

    return amend


def _linear_section(config: Configured) -> Configured:
    """`linear_attn_config`, where checkpoints were published with one; else empty."""
    section: Mapping[str, Any] = config_value(config, "linear_attn_config", dict, {})
    return PartConfig(config.model_id, section)


def _linear_sizes(config: Configured, heads: int) -> tuple[int, int]:
    """The number of heads and their width; what `linear_attn_config` says comes first."""
    section = _linear_section(config)
    return (
        positive(section, "num_heads", positive(config, "linear_num_heads", heads)),
        positive(section, "head_dim", positive(config, "linear_head_dim", 128)),
    )


def _kimi_layer_types(config: Configured, blocks: int) -> list[str]:
    """The layer types of a config without `layer_types`; the published ones count from 1.

    Raises MalformedError where `full_attn_layers` and `kda_layers` are not all the blocks.
    """
    section = _linear_section(config)
    if not {"full_attn_layers", "kda_layers"} <= section.config.keys():
        return ["full_attention" if n and n % 4 == 0 else "linear_attention" for n in range(blocks)]
    attention = config_value(section, "full_attn_layers", list)
    linear = config_value(section, "kda_layers", list)
    named = attention + linear
    if len(named) != blocks or any(n + 1 not in named for n in range(blocks)):
        message = (
            f"config.json of {config.model_id}: full_attn_layers and kda_layers do not name "
            f"each of {blocks} layers once"
        )
        raise MalformedError(message)
    return ["full_attention" if n + 1 in attention else "linear_attention" for n in range(blocks)]


class TransformersGlm5Next(TransformersArchitecture):
    """`model_type` glm5_next, whose language model is in its `text_config`, and glm5_next_text.

    transformers has no causal language model of it without the vision model: it is run without its
    head, which no layer needs.
    """

    name: ClassVar[str] = "transformers-glm5-next"
    model_types: ClassVar[tuple[str, ...]] = ("glm5_next", "glm5_next_text")
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        linear_attn_config.full_attn_layers linear_attn_config.gate_lower_bound
        linear_attn_config.head_dim linear_attn_config.kda_layers linear_attn_config.num_heads
        linear_head_dim linear_num_heads num_attention_heads linear_attn_config.safe_gate
        linear_lower_bound
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        ep_size first_k_dense_replace moe_router_dtype
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {
        "index_kpool_compress": True,
        "indexer_rope_interleave": True,
        "mhc": True,
        "mla_use_nope": True,
        "moe_layer_freq": 1,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
    }
    module_prefix: ClassVar[str] = "layers."
    file_prefixes: ClassVar[tuple[str, ...]] = (
        "model.language_model.layers.",
        "model.layers.",
        "layers.",
    )
    default_blocks: ClassVar[int | None] = 45

    def config(self, checkpoint: TensorSource) -> Configured:
        """The language model's config."""
        return text_config(checkpoint, self.model_types[1])

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Kimi delta attention, and indexed attention in every fourth block as a rule."""
        heads, width = _linear_sizes(config, heads=64)
        mixer = KimiDelta(
            heads, width, width, rate_shape=(heads,), lower_bound=_glm_lower_bound(config)
        )
        delta = Part("self_attn", mixer, KIMI_DELTA_RULE, DELTA_NAMES, loaded_names=LOADED_NAMES)
        usual = attention_in_every(4, self.count(config))
        attention = attention_part("self_attn", positive(config, "num_attention_heads", 64))
        return blocks_by_type(config, usual, delta, attention)

    def rename(self, name: str) -> str | None:
        """The language model's own name; its head and the vision model are left out."""
        if name.startswith(("lm_head.", "model.visual.")):
            return None
        return name.removeprefix("model.").removeprefix("language_model.")


def _glm_lower_bound(config: Configured) -> float | None:
    """The bound of the log-decay; null for none, unless `safe_gate` asks for the usual one."""
    usual = -5.0
    bound = config.config.get("linear_lower_bound", usual)
    section = config.config.get("linear_attn_config")
    if isinstance(section, Mapping):
        bound = section.get("gate_lower_bound", bound)
        if bound is None and section.get("safe_gate", True):
            bound = usual
    if bound is None:
        return None
    return _negative(config, "linear_lower_bound", bound)


def _negative(config: Configured, key: str, bound: object) -> float:
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not bound < 0:
        message = f"config.json of {config.model_id}: {key} is {bound!r}, not a negative number"
        raise MalformedError(message)
    return float(bound)


class TransformersBailingHybrid(TransformersArchitecture):
    """`model_type` bailing_hybrid (Ling 3)."""

    name: ClassVar[str] = "transformers-bailing-hybrid"
    model_types: ClassVar[tuple[str, ...]] = ("bailing_hybrid",)
    reads: ClassVar[frozenset[str]] = BLOCK_TYPES | words(
        """
        head_dim kda_lower_bound kda_safe_gate layer_group_size linear_head_dim num_attention_heads
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        max_window_layers moe_shared_expert_intermediate_size qk_head_dim router_dtype
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {
        "moe_router_enable_expert_bias": True,
        "no_kda_lora": True,
        "rope_interleave": True,
        "use_qk_norm": True,
    }
    default_blocks: ClassVar[int | None] = 42

    def blocks(self, config: Configured) -> Sequence[Block]:
        """Kimi delta attention, and latent attention at the end of every group."""
        heads = positive(config, "num_attention_heads", 32)
        # transformers writes the width of the rotary part into `head_dim` when it saves.
        width = positive(config, "linear_head_dim", positive(config, "head_dim", 128))
        bounded = config_value(config, "kda_safe_gate", bool, True)
        bound = config_value(config, "kda_lower_bound", float, -5.0)
        mixer = KimiDelta(
            heads,
            width,
            width,
            rate_shape=(heads,),
            lower_bound=_negative(config, "kda_lower_bound", bound) if bounded else None,
        )
        delta = Part("self_attn", mixer, KIMI_DELTA_RULE, DELTA_NAMES, "attention", LOADED_NAMES)
        usual = attention_in_every(positive(config, "layer_group_size", 6), self.count(config))
        return blocks_by_type(config, usual, delta, attention_part("self_attn", heads))


KIMI_DELTA_FAMILIES = (TransformersKimiLinear, TransformersGlm5Next, TransformersBailingHybrid)
