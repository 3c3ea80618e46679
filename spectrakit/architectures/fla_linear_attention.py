"""RetNet and linear attention checkpoints of the fla library (flash-linear-attention).

    model.layers.N.attn.*          numbered from 0; the mixer, or softmax attention of a hybrid

fla's models run on a GPU with its own kernels, so nothing here runs them: RetNet's decay is known
without (`spectrakit.mixers.fixed_decay`), and that of linear attention is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.base import Layer, check_layer_count, config_value, positive
from spectrakit.architectures.config_keys import ConfigKeys, words
from spectrakit.errors import UnsupportedError
from spectrakit.mixers import Retention
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.architectures.base import RunnableModel
    from spectrakit.checkpoints import TensorSource

_BLOCKS = "model.layers."
_NEEDS_FLA = "its recurrence needs a forward pass, which only fla itself can run"


_KEYS = ConfigKeys(
    reads=words("attn.layers expand_k expand_v hidden_size num_heads num_hidden_layers"),
    irrelevant=words(
        """
        attn.num_heads attn.num_kv_heads attn.qkv_bias attn.rope_theta attn.window_size attn_mode
        conv_size elementwise_affine feature_map fuse_cross_entropy fuse_norm fuse_swiglu hidden_act
        hidden_ratio intermediate_size max_position_embeddings norm_eps norm_feature_map norm_k
        norm_q norm_qk num_kv_heads output_norm tie_feature_map_qk use_output_gate use_short_conv
        """
    ),
)


class FlaLinearAttention:
    """`model_type` retnet and linear_attn."""

    name: ClassVar[str] = "fla-linear-attention"

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:  # noqa: ARG002
        """Sizes alone: the decays of RetNet are known, and what is around them is not run."""
        return _KEYS

    def claims(self, checkpoint: TensorSource) -> bool:
        """By `model_type`."""
        return checkpoint.config.get("model_type") in ("retnet", "linear_attn")

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every layer. Raises MalformedError where config and weights disagree."""
        count = positive(checkpoint, "num_hidden_layers", 24)
        check_layer_count(checkpoint, _BLOCKS, count, "num_hidden_layers")
        hybrid: Mapping[str, object] = config_value(checkpoint, "attn", dict, {})
        softmax = hybrid.get("layers")
        softmax = softmax if isinstance(softmax, list) else []
        retention = checkpoint.config["model_type"] == "retnet"
        return tuple(
            _retention(checkpoint, index)
            if retention and index not in softmax
            else Layer(
                index,
                _path(index),
                "softmax_attention" if index in softmax else "linear_attention",
                reason=_NEEDS_FLA,
            )
            for index in range(count)
        )

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:  # noqa: ARG002
        """Raises UnsupportedError: transformers does not have these models."""
        message = f"{checkpoint.model_id}: models of fla cannot be run here"
        raise UnsupportedError(message, hint=given(mode="weights"))


def _retention(checkpoint: TensorSource, index: int) -> Layer:
    width = positive(checkpoint, "hidden_size", 2048)
    heads = positive(checkpoint, "num_heads", 8)
    mixer = Retention(
        heads,
        state_size=round(width * config_value(checkpoint, "expand_k", float, 1.0)) // heads,
        head_width=round(width * config_value(checkpoint, "expand_v", float, 2.0)) // heads,
    )
    return Layer(index, _path(index), mixer.name, mixer, runs=False)


def _path(index: int) -> str:
    return f"{_BLOCKS}{index}.attn"
