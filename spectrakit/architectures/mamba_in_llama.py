"""MambaInLlama: transformers in whose blocks Mamba or Mamba-2 stands where attention stood.

    model.layers.N.self_attn.*      a block that kept its attention (`attn_layers`)
    model.layers.N.mamba.*          one that did not:
        A_log (D, N), dt_proj.weight (D, R), dt_proj.bias (D,), out_proj.weight (E, D)    Mamba
        A_log (H,), dt_bias (H,), out_proj.weight (E, H P)                                Mamba-2

The config.json is that of the Llama (or Mistral, ...) they were distilled from; mamba_config.json
beside it says what the shapes do. In Mamba-2, every head has a key and a query of its own width,
N = P, and keys and inputs of x_b channels are shared by several heads. Wang et al. 2024 (arXiv
2408.15237), github.com/jxiw/MambaInLlama.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.bare.mambas import holds_mamba, mamba_or_mamba2
from spectrakit.architectures.bare.parts import Place
from spectrakit.architectures.base import Layer, check_floating
from spectrakit.architectures.config_keys import ConfigKeys
from spectrakit.architectures.transformers_attention import TransformersAttention
from spectrakit.architectures.transformers_config_keys import keys_of
from spectrakit.architectures.transformers_mamba import MAMBA2_NAMES
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.mixers import Mamba2, SoftmaxAttention
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.architectures.base import RunnableModel
    from spectrakit.checkpoints import TensorSource

_BLOCKS = "model.layers."
_SEQUENCE_LAYER = re.compile(r"model\.layers\.(\d+)\.(mamba|mha|self_attn)\.")
_ATTENTION = "attention beside Mamba: only the code of MambaInLlama runs it"


class MambaInLlama:
    """Models of MambaInLlama: their Mamba layers in weights mode. Attention is listed."""

    name: ClassVar[str] = "mamba-in-llama"

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:
        """Those of the transformer around the layers."""
        return ConfigKeys(left=frozenset(keys_of(str(checkpoint.config.get("model_type")))))

    def claims(self, checkpoint: TensorSource) -> bool:
        """By Mamba in a block of a model whose config names a transformer."""
        known = checkpoint.config.get("model_type") in TransformersAttention.model_types
        return known and checkpoint.module is None and holds_mamba(checkpoint)

    def block_prefixes(self, checkpoint: TensorSource) -> tuple[str, ...]:  # noqa: ARG002
        """How the names of its blocks' tensors begin."""
        return (_BLOCKS,)

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """One for every block. Raises MalformedError where a Mamba's shapes contradict each other,
        UnsupportedError where what A needs is stored as no floats.
        """
        found: dict[int, str] = {}
        for name in checkpoint.tensors:
            match = _SEQUENCE_LAYER.match(name)
            if match is not None and (match[2] == "mamba" or int(match[1]) not in found):
                found[int(match[1])] = match[0].rstrip(".")
        return tuple(
            _mamba(checkpoint, index, path)
            if path.endswith(".mamba")
            else Layer(index, path, SoftmaxAttention.name, reason=_ATTENTION, runs=False)
            for index, path in sorted(found.items())
        )

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:  # noqa: ARG002
        """Raises UnsupportedError: no library that is used here has such a model."""
        message = (
            f"{checkpoint.model_id} is a model of MambaInLlama, whose own code alone runs it "
            "(github.com/jxiw/MambaInLlama)"
        )
        raise UnsupportedError(message, hint=given(mode="weights"))


def _mamba(checkpoint: TensorSource, index: int, path: str) -> Layer:
    place = Place(checkpoint, path)
    one = len(place.shape("A_log")) == 2
    found = mamba_or_mamba2(place) if one else None
    mixer = _mamba2(place) if not one else None if found is None else found.mixer
    if mixer is None:
        message = f"layer {index}: the tensors of {path} are of no Mamba"
        raise MalformedError(message, hint=f"spectrakit inspect {checkpoint.model_id}")
    parameters = place.named(MAMBA2_NAMES) if found is None else found.parameters
    note = None if one else "a state as wide as a head, as MambaInLlama makes it"
    layer = Layer(index, path, mixer.name, mixer, parameters, note, runs=False)
    check_floating(checkpoint, layer)
    return layer


def _mamba2(place: Place) -> Mamba2 | None:
    heads, channels = place.size("A_log", 0), place.size("out_proj.weight", 1)
    if not heads or place.shape("dt_bias") != (heads,) or not channels or channels % heads:
        return None
    return Mamba2(
        model_width=place.size("out_proj.weight", 0),
        heads=heads,
        head_width=channels // heads,
        state_size=channels // heads,
        groups=heads,
        convolution_width=place.size("conv1d.weight", -1),
        norm_epsilon=1e-5 if place.has("norm.weight") else None,
    )
