"""Models of fla, by `model_type`: names and layouts, no mathematics.

model.embeddings.weight
model.layers.N.attn_norm.weight, .mlp_norm.weight, .mlp.{gate,up,down}_proj.weight
model.layers.N.attn.*                  the mixer, or softmax attention of a hybrid
model.lower_bounds                     of HGRN and HGRN2, one row per layer
model.norm.weight, lm_head.weight
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.base import Layer, check_layer_count, check_parameters, positive
from spectrakit.architectures.rwkv_of_transformers import is_of_the_project
from spectrakit.architectures.written_out import read_written_out
from spectrakit_fla.delta_families import DELTA_FAMILIES
from spectrakit_fla.hybrid import ATTENTION_NAMES, hybrid_attention
from spectrakit_fla.keys import KEYS
from spectrakit_fla.linear_families import LINEAR_FAMILIES
from spectrakit_fla.model import BLOCKS
from spectrakit_fla.options import require_usual
from spectrakit_fla.rwkv_families import RWKV_FAMILIES

if TYPE_CHECKING:
    from spectrakit.architectures.base import RunnableModel
    from spectrakit.architectures.config_keys import ConfigKeys
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer
    from spectrakit_fla.families import Family

FAMILIES = (*LINEAR_FAMILIES, *DELTA_FAMILIES, *RWKV_FAMILIES)


class FlaCheckpoints:
    """Every family of fla that is read here, in place of the host's reader of two of them."""

    name: ClassVar[str] = "fla-linear-attention"
    override: ClassVar[bool] = True
    initial_source: ClassVar[str] = "github.com/fla-org/flash-linear-attention"

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:  # noqa: ARG002
        """Those of all families."""
        return KEYS

    def claims(self, checkpoint: TensorSource) -> bool:
        """By `model_type`; the RWKV project's own models of the same have other names."""
        return _family(checkpoint) is not None and not is_of_the_project(checkpoint.tensors)

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """Every layer, softmax attention of a hybrid among them.

        Raises MalformedError where config and weights disagree, UnsupportedError where an option
        has a value that is not read.
        """
        family = _family(checkpoint)
        assert family is not None  # noqa: S101  (it was claimed)
        require_usual(checkpoint, family.model.usual)
        count = positive(checkpoint, "num_hidden_layers", 24)
        check_layer_count(checkpoint, BLOCKS, count, "num_hidden_layers")
        layers = tuple(_layers(checkpoint, family, count))
        for layer in layers:
            check_parameters(checkpoint, layer)
        return layers

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The model, run by its mixers' equations.

        Raises MalformedError where the weights are not those of the config.
        """
        family = _family(checkpoint)
        assert family is not None  # noqa: S101  (it was claimed)
        layers = self.layers(checkpoint)
        around = family.model.around(checkpoint, len(layers))
        weights = read_written_out(
            checkpoint, layers, around, device, dtype, precise=family.precise
        )
        return family.model(layers, weights, checkpoint, family.initial(checkpoint))

    def initial(self, checkpoint: TensorSource) -> Initial:
        """What fla draws all weights from."""
        family = _family(checkpoint)
        assert family is not None  # noqa: S101  (it was claimed)
        return family.initial(checkpoint)


def _family(checkpoint: TensorSource) -> Family | None:
    return next((family for family in FAMILIES if family.claims(checkpoint)), None)


def _layers(checkpoint: TensorSource, family: Family, count: int) -> Iterator[Layer]:
    softmax = hybrid_attention(checkpoint, count)
    names = family.names(checkpoint)
    for number in range(count):
        attention = softmax.get(number)
        if attention is None:
            yield _layer(number, family.mixer(checkpoint, number), names)
        else:
            yield _layer(number, attention, ATTENTION_NAMES)


def _layer(number: int, mixer: Mixer, names: Mapping[str, str]) -> Layer:
    path = f"{BLOCKS}{number}.attn"
    parameters = {
        role: names[role] if names[role].startswith("model.") else f"{path}.{names[role]}"
        for role in mixer.shapes()
    }
    return Layer(number, path, mixer.name, mixer, parameters)
