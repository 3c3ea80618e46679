"""Mamba-3 in files of flash-linear-attention (fla): `"model_type": "mamba3"`.

    backbone.embeddings.weight, backbone.layers.N.norm.weight, .mixer.*, backbone.norm_f.weight

Files converted from mamba_ssm have `backbone.embedding.weight`, which fla reads too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.base import (
    Layer,
    check_layer_count,
    check_parameters,
    config_value,
    positive,
)
from spectrakit.architectures.mamba_ssm_model import Backbone
from spectrakit_mamba3.files import NAMES, as_far_as_read, mamba3
from spectrakit_mamba3.initial import initial_fla_mamba3
from spectrakit_mamba3.model import load_mamba3_model

if TYPE_CHECKING:
    from spectrakit.architectures import RunnableModel
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource
    from spectrakit_mamba3.mixer import Mamba3

_BLOCKS = "backbone.layers."
_EMBEDDINGS = ("backbone.embeddings.weight", "backbone.embedding.weight")


class FlaMamba3:
    """Models of fla whose `model_type` is mamba3."""

    name: ClassVar[str] = "fla-mamba3"
    initial_source: ClassVar[str] = "github.com/fla-org/flash-linear-attention"

    def claims(self, checkpoint: TensorSource) -> bool:
        """By `model_type`."""
        return checkpoint.config.get("model_type") == "mamba3"

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every layer.

        Raises UsageError where `a_form` is not given, MalformedError where config and weights
        disagree.
        """
        count = positive(checkpoint, "num_hidden_layers", 48)
        check_layer_count(checkpoint, _BLOCKS, count, "num_hidden_layers")
        mixer = mamba3(
            checkpoint,
            checkpoint,
            model_width=_width(checkpoint),
            state_size=positive(checkpoint, "state_size", 128),
            head_width=positive(checkpoint, "head_dim", 64),
            groups=positive(checkpoint, "n_groups", 1),
            norm_epsilon=_norm_epsilon(checkpoint),
            projection_bias=config_value(checkpoint, "use_bias", bool, False),
        )
        return tuple(_layer(checkpoint, index, mixer) for index in range(count))

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The model, run by its mixers' equations.

        Raises UnsupportedError where a layer cannot be run.
        """
        present = [name for name in _EMBEDDINGS if name in checkpoint.tensors]
        backbone = Backbone(
            width=_width(checkpoint),
            vocabulary=positive(checkpoint, "vocab_size", 32_000),
            mlp_width=None,
            layer_norm=False,
            wide_residual=False,  # the sum is, and every block narrows it again
            norm_epsilon=_norm_epsilon(checkpoint),
            embedding=present[0] if present else _EMBEDDINGS[0],
        )
        layers, initial = self.layers(checkpoint), self.initial(checkpoint)
        return load_mamba3_model(checkpoint, layers, backbone, initial, device, dtype)

    def initial(self, checkpoint: TensorSource) -> Initial:
        """What fla draws all weights from."""
        return initial_fla_mamba3(checkpoint)


def _width(checkpoint: TensorSource) -> int:
    return positive(checkpoint, "hidden_size", 2048)


def _norm_epsilon(checkpoint: TensorSource) -> float:
    epsilon: float = config_value(checkpoint, "norm_eps", float, 1e-5)
    return epsilon


def _layer(checkpoint: TensorSource, index: int, mixer: Mamba3) -> Layer:
    path = f"{_BLOCKS}{index}.mixer"
    names = {role: f"{path}.{name}" for role, name in NAMES.items()}
    layer = Layer(index, path, mixer.name, mixer, names)
    check_parameters(checkpoint, layer)
    return as_far_as_read(layer)
