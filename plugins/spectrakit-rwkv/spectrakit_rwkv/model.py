"""A model of the RWKV project, run by the equations of its mixers.

    r_0 = embedding[tokens]                                       (B, T, E)
    x   = ln0(r_0) in the first block, r_{l-1} in the others
    x  += time_mixing_l(ln1_l(x))
    r_l = x + channel_mixing_l(ln2_l(x))
    out = ln_out(r_L)

B batch, T tokens, E model width. In RWKV-7 the time mixings of all layers know the first one's
values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.architectures.rwkv_files import shape_of
from spectrakit.architectures.written_out import ForwardPass, WrittenOutModel, read_written_out
from spectrakit.mixers.rwkv7_layer import RWKV7Layer
from spectrakit_rwkv.channel_mixing import CHANNEL_MIXINGS
from spectrakit_rwkv.initial import initial

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.architectures.base import Layer
    from spectrakit.checkpoints import TensorSource
else:
    functional = lazy_import("torch.nn.functional")

_EMBEDDING = "emb.weight"
_FIRST_NORM, _LAST_NORM = "blocks.0.ln0", "ln_out"
#: Roles that stay in float32 at least, as the project's own code keeps them.
_PRECISE = ("time_decay", "decay_bias", "first", "bonus", "norm", "norm_bias")
#: The language head, and what the files of RWKV-7 hold of a residual that the first layer has not.
_UNUSED = ("head.", *(f"blocks.0.att.{name}" for name in ("v0", "v1", "v2")))


class RWKVModel(WrittenOutModel):
    """Embedding, blocks of a time and a channel mixing, and a final norm."""

    @property
    def vocabulary_size(self) -> int:
        """Rows of the input embedding."""
        return len(self.weights[_EMBEDDING])

    def hidden_states(self, tokens: Tensor, passing: ForwardPass) -> Tensor:
        """What the language head would read: (B, T, E)."""
        residual = passing.stream(functional.embedding(tokens, self.weights[_EMBEDDING]))
        residual = self._norm(residual, _FIRST_NORM)
        given: dict[str, Tensor] = {}
        for layer in self.layers:
            block = _block(layer)
            hidden = self._norm(residual, f"{block}.ln1")
            if isinstance(layer.mixer, RWKV7Layer) and not given:
                p = {role: self.weights[name] for role, name in layer.parameters.items()}
                given = {"first_value": layer.mixer.first_value(hidden, p)}
            residual = residual + passing.mixed(layer, hidden, given)
            hidden = self._norm(residual, f"{block}.ln2")
            residual = passing.stream(residual + self._channel_mixed(layer, hidden))
        return self._norm(residual, _LAST_NORM)

    def _norm(self, residual: Tensor, name: str) -> Tensor:
        weight, bias = (self.weights[f"{name}.{part}"] for part in ("weight", "bias"))
        return functional.layer_norm(residual, weight.shape, weight, bias)

    def _channel_mixed(self, layer: Layer, hidden: Tensor) -> Tensor:
        prefix = f"{_block(layer)}.ffn."
        p = {
            name.removeprefix(prefix): weight
            for name, weight in self.weights.items()
            if name.startswith(prefix)
        }
        return CHANNEL_MIXINGS[layer.kind].output(hidden, p)


def _block(layer: Layer) -> str:
    return layer.path.removesuffix(".att")


def load_rwkv_model(
    checkpoint: TensorSource, layers: Sequence[Layer], device: str, dtype: str
) -> RWKVModel:
    """The model of `layers`, which have been checked, and what is around them.

    Raises MalformedError where the file has not just the tensors of their version.
    """
    return RWKVModel(
        layers,
        read_written_out(
            checkpoint,
            layers,
            _around(checkpoint, layers),
            device,
            dtype,
            precise=_PRECISE,
            unused=_UNUSED,
        ),
        initial(layers),
    )


def _around(checkpoint: TensorSource, layers: Sequence[Layer]) -> Mapping[str, tuple[int, ...]]:
    """The shape of every tensor outside the time mixings, by its name in the file."""
    vocabulary, width = shape_of(checkpoint, _EMBEDDING, axes=2)
    shapes: dict[str, tuple[int, ...]] = {_EMBEDDING: (vocabulary, width)}
    norms = [_FIRST_NORM, _LAST_NORM]
    for layer in layers:
        block = _block(layer)
        norms += [f"{block}.ln1", f"{block}.ln2"]
        inner, _ = shape_of(checkpoint, f"{block}.ffn.key.weight", axes=2)
        channel = CHANNEL_MIXINGS[layer.kind].shapes(width, inner)
        shapes |= {f"{block}.ffn.{name}": shape for name, shape in channel.items()}
    return shapes | {f"{norm}.{part}": (width,) for norm in norms for part in ("weight", "bias")}
