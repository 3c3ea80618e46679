"""RecurrentGemma checkpoints: RG-LRU blocks and, in every third block, local attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.attention import attention_part
from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.taps import ModuleSource, Seen, Tap
from spectrakit.architectures.transformers_family import Block, Part, TransformersArchitecture
from spectrakit.errors import MalformedError
from spectrakit.mixers import RGLRU, Observation

if TYPE_CHECKING:
    from spectrakit.mixers import Mixer

RG_LRU_NAMES = {
    "Lambda": "recurrent_param",
    "recurrence_projection": "recurrent_gate_weight",
    "recurrence_bias": "recurrent_gate_bias",
    "input_projection": "input_gate_weight",
    "input_bias": "input_gate_bias",
}


def read_rg_lru(mixer: Mixer, seen: Seen) -> Observation:
    """From a call of the unit, which computes its gates from its input."""
    assert isinstance(mixer, RGLRU)  # noqa: S101  (architectures pair them)
    own = dict(seen.module.named_parameters())
    p = {role: own[name].float() for role, name in RG_LRU_NAMES.items()}
    x = seen.arguments["activations"].float()
    starts = (seen.arguments["position_ids"] == 0).expand(x.shape[:2])
    recurrence = mixer.observed(x, p, starts)
    return Observation(recurrence, x.unsqueeze(-1), lambda y: y.squeeze(-1), seen.output)


RG_LRU = Tap(ModuleSource(), read_rg_lru)


class TransformersRecurrentGemma(TransformersArchitecture):
    """`model_type` recurrent_gemma."""

    name: ClassVar[str] = "transformers-recurrent-gemma"
    model_types: ClassVar[tuple[str, ...]] = ("recurrent_gemma",)
    reads: ClassVar[frozenset[str]] = words("block_types hidden_size lru_width num_attention_heads")
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        _block_types final_w_init_variance_scale
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"embeddings_scale_by_sqrt_dim": True}
    default_blocks: ClassVar[int | None] = 26

    def blocks(self, config: Configured) -> Sequence[Block]:
        """`block_types`, over and over. Raises MalformedError where it holds another kind."""
        heads = positive(config, "num_attention_heads", 10)
        width = positive(config, "lru_width", positive(config, "hidden_size", 2560))
        kinds = {
            "recurrent": Part("temporal_block.rg_lru", RGLRU(width, heads), RG_LRU, RG_LRU_NAMES),
            "attention": attention_part("temporal_block", heads),
        }
        usual = ["recurrent", "recurrent", "attention"]
        cycle = config_value(config, "block_types", list, usual) or usual
        for kind in cycle:
            if kind not in kinds:
                message = f"config.json of {config.model_id}: block_types holds {kind!r}"
                raise MalformedError(message, hint=f"those known are {', '.join(kinds)}")
        return [(kinds[cycle[number % len(cycle)]],) for number in range(self.count(config))]
