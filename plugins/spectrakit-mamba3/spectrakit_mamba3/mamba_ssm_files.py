"""Mamba-3 in files of the mamba_ssm library: `"ssm_cfg": {"layer": "Mamba3", ...}`.

    backbone.embedding.weight, backbone.layers.N.norm.*, .mixer.*, backbone.norm_f.*

Mixers may alternate with attention and be followed by MLPs, as in the library's other models; see
`spectrakit.architectures.mamba_ssm_files`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.base import positive
from spectrakit.architectures.mamba_ssm_files import (
    backbone,
    layer_kind,
    mamba_ssm_layers,
    ssm_options,
)
from spectrakit.architectures.mamba_ssm_initial import initial_mamba_ssm
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit_mamba3.files import NAMES, as_far_as_read, mamba3
from spectrakit_mamba3.model import load_mamba3_model

if TYPE_CHECKING:
    from spectrakit.architectures import Layer, RunnableModel
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource


class MambaSSMMamba3:
    """Models of the mamba_ssm library whose mixers are of its class Mamba3."""

    name: ClassVar[str] = "mamba-ssm-mamba3"
    initial_source: ClassVar[str] = "github.com/state-spaces/mamba"

    def claims(self, checkpoint: TensorSource) -> bool:
        """By the config's keys, the tensor names and the class of the mixers."""
        return layer_kind(checkpoint) == "Mamba3"

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every layer, attention layers of a hybrid among them.

        Raises UsageError where `a_form` is not given, MalformedError where config and weights
        disagree.
        """
        options = PartConfig(checkpoint.model_id, ssm_options(checkpoint))
        mixer = mamba3(
            checkpoint,
            options,
            model_width=positive(checkpoint, "d_model"),
            state_size=positive(options, "d_state", 128),
            head_width=positive(options, "headdim", 64),
            groups=positive(options, "ngroups", 1),
        )
        layers = mamba_ssm_layers(checkpoint, mixer, NAMES)
        return tuple(as_far_as_read(layer) for layer in layers)

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The model, run by its mixers' equations.

        Raises UnsupportedError where a layer cannot be run.
        """
        layers = self.layers(checkpoint)
        around, initial = backbone(checkpoint), self.initial(checkpoint)
        return load_mamba3_model(checkpoint, layers, around, initial, device, dtype)

    def initial(self, checkpoint: TensorSource) -> Initial:
        """What the library draws all weights from."""
        return initial_mamba_ssm(checkpoint)
