"""xLSTM checkpoints in the format of transformers: mLSTM blocks (xLSTM-7b)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.taps import ModuleSource, Seen, Tap, first
from spectrakit.architectures.transformers_family import (
    Block,
    Part,
    PartConfig,
    TransformersArchitecture,
)
from spectrakit.mixers import MLSTM, Observation

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer


def read_mlstm(mixer: Mixer, seen: Seen) -> Observation:
    """From a call of the layer's backend, where heads come before time."""
    assert isinstance(mixer, MLSTM)  # noqa: S101  (architectures pair the backend with its mixer)
    (scan,) = seen.calls
    call = scan.arguments
    names = ("key", "query", "value", "igate", "fgate")
    observation = mixer.observation(*(call[name].float().transpose(1, 2) for name in names))
    finish = observation.finish

    def heads_first(y: Tensor) -> Tensor:
        assert finish is not None  # noqa: S101  (it takes the normaliser's column off)
        return finish(y).transpose(1, 2)

    return replace(observation, finish=heads_first, outputs=first(scan.output))


#: Longer than any sequence.
_ANY_LENGTH = 1 << 30

MLSTM_BACKEND = Tap(ModuleSource("mlstm_backend"), read_mlstm)


class TransformersXLSTM(TransformersArchitecture):
    """`model_type` xlstm."""

    name: ClassVar[str] = "transformers-xlstm"
    model_types: ClassVar[tuple[str, ...]] = ("xlstm",)
    reads: ClassVar[frozenset[str]] = words(
        """
        embedding_dim eps gate_soft_cap hidden_size num_blocks num_heads qk_dim_factor v_dim_factor
        weight_mode
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        add_forward_backend_padding force_bos_token_insert forward_backend_name head_dim
        igate_bias_init_range init_distribution init_distribution_embed lm_head_init_fn
        mlstm_round_up_to_multiple_of output_init_fn step_backend_name
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"add_post_blocks_norm": True, "cell_norm_eps": 1e-6}
    module_prefix: ClassVar[str] = "backbone.blocks."
    file_prefixes: ClassVar[tuple[str, ...]] = ("backbone.blocks.", "blocks.")
    default_blocks: ClassVar[int | None] = 32

    def config(self, checkpoint: TensorSource) -> Configured:
        """The checkpoint's; a sequence is taken whole, however long.

        transformers takes it in pieces of `max_inference_chunksize`, for memory's sake: the last
        state of one piece is the first of the next, so that nothing else changes.
        """
        config = super().config(checkpoint)
        whole = {**config.config, "max_inference_chunksize": _ANY_LENGTH}
        return PartConfig(config.model_id, whole)

    def count_key(self, config: Configured) -> str:
        """`num_blocks`, or `num_hidden_layers` where it is not there."""
        return "num_blocks" if config.config.get("num_blocks") else "num_hidden_layers"

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One mLSTM each."""
        width = positive(config, "hidden_size", positive(config, "embedding_dim", 4096))
        heads = positive(config, "num_heads", 8)
        fused = config_value(config, "weight_mode", str, "single") == "fused"
        mixer = MLSTM(
            heads,
            state_size=int(width * config_value(config, "qk_dim_factor", float, 0.5)) // heads,
            head_width=int(width * config_value(config, "v_dim_factor", float, 1.0)) // heads,
            soft_cap=config_value(config, "gate_soft_cap", float, 15.0),
            epsilon=config_value(config, "eps", float, 1e-6),
            fused=fused,
        )
        gate = "ifgate_preact.bias" if fused else "fgate_preact.bias"
        part = Part("mlstm_layer", mixer, MLSTM_BACKEND, {"gate_bias": gate})
        return [(part,)] * self.count(config)
