"""state-spaces' own files of Mamba and Mamba-2; for their layout see `mamba_ssm_files`.

Defaults of the mixer classes, which `ssm_cfg` leaves out, are written out here. Tensor names are
transformers' but for `backbone.embedding`, and a model without attention and MLPs runs as one of
transformers; others run by their mixers' own equations (`mamba_ssm_model`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit.architectures.base import config_value, positive
from spectrakit.architectures.config_keys import ConfigKeys, words
from spectrakit.architectures.mamba_config import transformers_config
from spectrakit.architectures.mamba_ssm_files import (
    KEYS,
    backbone,
    layer_kind,
    mamba_ssm_layers,
    ssm_number,
    ssm_options,
)
from spectrakit.architectures.mamba_ssm_initial import initial_mamba_ssm
from spectrakit.architectures.mamba_ssm_model import load_mamba_ssm_model
from spectrakit.architectures.transformers_family import PartConfig
from spectrakit.architectures.transformers_mamba import (
    BLOCKS,
    CHUNK_SCAN,
    MAMBA2_NAMES,
    MAMBA_NAMES,
    SELECTIVE_SCAN,
    step_limit,
)
from spectrakit.architectures.transformers_model import TransformersModel, load_transformers_model
from spectrakit.errors import UnsupportedError
from spectrakit.mixers import Mamba, Mamba2

if TYPE_CHECKING:
    from spectrakit.architectures.base import Configured, Layer, RunnableModel
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.architectures.mamba_ssm_model import Backbone
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer

#: Classes of mixers that are read here, as `ssm_cfg.layer` names them.
_KINDS = ("Mamba1", "Mamba2")

#: Options of mamba_ssm's Mamba2 that are read at one value only.
_ONLY = {"d_ssm": None, "D_has_hdim": False}


#: Of both classes; what only says how initial weights are drawn, `mamba_ssm_initial` reads.
_OPTIONS = ConfigKeys(
    reads=words(
        """
        A_init_range D_has_hdim bias chunk_size conv_bias conv_init d_conv d_ssm d_state dt_init
        dt_init_floor dt_limit dt_max dt_min dt_rank dt_scale expand headdim layer ngroups
        norm_before_gate rmsnorm
        """
    ),
    irrelevant=words("device dtype layer_idx sequence_parallel use_fast_path use_mem_eff_path"),
)


class MambaSSM:
    """Checkpoints of the mamba_ssm library: Mamba, Mamba-2 and their hybrids with attention."""

    name: ClassVar[str] = "mamba-ssm"
    initial_source: ClassVar[str] = "github.com/state-spaces/mamba"

    def claims(self, checkpoint: TensorSource) -> bool:
        """By the config's keys, the tensor names and the class of the mixers."""
        return layer_kind(checkpoint) in _KINDS

    def block_prefixes(self, checkpoint: TensorSource) -> tuple[str, ...]:  # noqa: ARG002
        """How the names of its blocks' tensors begin, before the block's number."""
        return (BLOCKS,)

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:  # noqa: ARG002
        """Those of the library's configs, and of its mixers' options."""
        return KEYS | _OPTIONS.inside("ssm_cfg")

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every layer, attention layers of a hybrid among them.

        Raises MalformedError where config and weights disagree, UnsupportedError for an option of
        the mixers that is not read.
        """
        return mamba_ssm_layers(checkpoint, *_mixer(checkpoint))

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The equivalent transformers model, converted in memory; where there is none, our own.

        Raises UnsupportedError where a layer cannot be read, and so not be run.
        """
        layers = self.layers(checkpoint)
        mixer, _ = _mixer(checkpoint)
        around = backbone(checkpoint)
        if not _in_transformers(layers, around):
            return load_mamba_ssm_model(checkpoint, layers, around, device, dtype)
        config = _transformers_config(checkpoint, mixer, around)
        model = load_transformers_model(checkpoint, config, device, dtype, _transformers_name)
        tap = CHUNK_SCAN if isinstance(mixer, Mamba2) else SELECTIVE_SCAN
        taps = {layer.index: tap for layer in layers}
        return TransformersModel(model, layers, taps, self.config(checkpoint))

    def config(self, checkpoint: TensorSource) -> Configured:
        """The options of its layers."""
        return PartConfig(checkpoint.model_id, ssm_options(checkpoint))

    def initial(self, checkpoint: TensorSource) -> Initial | None:
        """What the library draws all weights from; None of a model that transformers runs."""
        if _in_transformers(self.layers(checkpoint), backbone(checkpoint)):
            return None
        return initial_mamba_ssm(checkpoint)


def _in_transformers(layers: Sequence[Layer], around: Backbone) -> bool:
    """Whether transformers has such a model: mixers of Mamba alone, normed and gated as usual."""

    def usual(mixer: Mixer | None) -> bool:
        if isinstance(mixer, Mamba2):
            return mixer.norm_epsilon is not None and not mixer.norm_before_gate
        return isinstance(mixer, Mamba)

    mixers_alone = around.mlp_width is None and not around.layer_norm
    return mixers_alone and all(usual(layer.mixer) for layer in layers)


def _transformers_name(name: str) -> str:
    return name.replace("backbone.embedding.", "backbone.embeddings.")


def _mixer(checkpoint: TensorSource) -> tuple[Mamba | Mamba2, Mapping[str, str]]:
    if layer_kind(checkpoint) == "Mamba2":
        return _mamba2(checkpoint), MAMBA2_NAMES
    return _mamba(checkpoint), MAMBA_NAMES


def _mamba(checkpoint: TensorSource) -> Mamba:
    options = ssm_options(checkpoint)
    width = positive(checkpoint, "d_model")
    rank = options.get("dt_rank", "auto")
    return Mamba(
        model_width=width,
        channels=int(ssm_number(checkpoint, "expand", 2) * width),
        state_size=_size(checkpoint, "d_state", 16),
        step_rank=math.ceil(width / 16) if rank == "auto" else _size(checkpoint, "dt_rank"),
        convolution_width=_size(checkpoint, "d_conv", 4),
        projection_bias=bool(options.get("bias", False)),
        convolution_bias=bool(options.get("conv_bias", True)),
    )


def _mamba2(checkpoint: TensorSource) -> Mamba2:
    options = ssm_options(checkpoint)
    for option, supported in _ONLY.items():
        if options.get(option, supported) != supported:
            message = (
                f"{checkpoint.model_id}: ssm_cfg.{option} = {options[option]!r} is not read yet"
            )
            raise UnsupportedError(message)
    width = positive(checkpoint, "d_model")
    head_width = _size(checkpoint, "headdim", 64)
    return Mamba2(
        model_width=width,
        heads=int(ssm_number(checkpoint, "expand", 2) * width) // head_width,
        head_width=head_width,
        state_size=_size(checkpoint, "d_state", 128),
        groups=_size(checkpoint, "ngroups", 1),
        convolution_width=_size(checkpoint, "d_conv", 4),
        step_limit=step_limit(checkpoint, "dt_limit", options),
        norm_epsilon=1e-5 if options.get("rmsnorm", True) else None,
        norm_before_gate=bool(options.get("norm_before_gate", False)),
        projection_bias=bool(options.get("bias", False)),
        convolution_bias=bool(options.get("conv_bias", True)),
    )


def _size(checkpoint: TensorSource, key: str, default: int | None = None) -> int:
    return int(ssm_number(checkpoint, key, default))


def _transformers_config(
    checkpoint: TensorSource, mixer: Mamba | Mamba2, around: Backbone
) -> Mapping[str, Any]:
    tied = config_value(checkpoint, "tie_embeddings", bool, True)
    blocks = positive(checkpoint, "n_layer")
    made = transformers_config(mixer, blocks, around.vocabulary, tied=tied)
    made["residual_in_fp32"] = around.wide_residual
    if isinstance(mixer, Mamba2):
        made["chunk_size"] = _size(checkpoint, "chunk_size", 256)
    return made
