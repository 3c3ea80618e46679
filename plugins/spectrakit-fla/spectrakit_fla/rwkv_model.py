"""What is around the mixers of fla's RWKV-6 and RWKV-7 models.

    r_0 = embeddings[tokens]                                                 (B, T, E)
    x   = pre_norm(r_0) in the first block, r_{l-1} in the others
    x  += mixer_l(attn_norm_l(x))
    r_l = x + channel_mixing_l(ffn_norm_l(x))
    out = norm(r_L)

and channel mixing, with x_t^i = x_t + mu_i (x_{t-1} - x_t),

    RWKV-6    sigmoid(R x_t^r) (V relu(K x_t^k)^2)
    RWKV-7    V relu(K x_t^k)^2

B batch, T tokens, E model width. The norms are layer norms, with a bias unless the config says
otherwise; a config may leave the first norm out, too. In RWKV-7 the mixers of all layers know the
first one's values.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.architectures.base import Configured, Layer, config_value, positive
from spectrakit.mixers.layers import token_before
from spectrakit_fla.mixers.rwkv7 import RWKV7Layer
from spectrakit_fla.model import BLOCKS, EMBEDDING, FlaModel

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.architectures.written_out import ForwardPass
    from spectrakit.checkpoints import TensorSource
else:
    functional = lazy_import("torch.nn.functional")

_FIRST_NORM, _LAST_NORM = f"{BLOCKS}0.pre_norm", "model.norm"


class RWKVModel(FlaModel):
    """Embedding, blocks of a mixer and a channel mixing, and a final norm."""

    usual: ClassVar[Mapping[str, object]] = {"hidden_act": "sqrelu"}

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Mapping[str, Tensor],
        config: Configured,
        initial: Initial,
    ) -> None:
        """`weights` are by their names in the file; initial: what they were before training."""
        super().__init__(layers, weights, config, initial)
        self.norm_epsilon: float = config_value(config, "norm_eps", float, 1e-5)

    @classmethod
    @abstractmethod
    def channel_shapes(cls, width: int, inner: int) -> Mapping[str, tuple[int, ...]]:
        """The shapes of a block's channel mixing, by their names below `ffn.`."""

    @abstractmethod
    def channel_mixed(self, x: Tensor, ffn: str) -> Tensor:
        """The channel mixing of x (B, T, E) with the weights below `ffn`."""

    @classmethod
    def around(cls, checkpoint: TensorSource, layers: int) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor outside the mixers of so many `layers`, by its name.

        Raises MalformedError where the config's sizes are none.
        """
        width = positive(checkpoint, "hidden_size", 2048)
        channel = cls.channel_shapes(width, cls._channel_width(checkpoint, width))
        shapes: dict[str, tuple[int, ...]] = {
            EMBEDDING: (positive(checkpoint, "vocab_size", 32_000), width)
        }
        norms = [_LAST_NORM]
        if config_value(checkpoint, "norm_first", bool, True):
            norms.append(_FIRST_NORM)
        for number in range(layers):
            block = f"{BLOCKS}{number}"
            norms += [f"{block}.attn_norm", f"{block}.ffn_norm"]
            shapes |= {f"{block}.ffn.{name}": shape for name, shape in channel.items()}
        biased = config_value(checkpoint, "norm_bias", bool, True)
        parts = ("weight", "bias") if biased else ("weight",)
        return shapes | {f"{norm}.{part}": (width,) for norm in norms for part in parts}

    @classmethod
    def _channel_width(cls, config: Configured, width: int) -> int:
        """`intermediate_size`, or `hidden_ratio` model widths, to multiples of 32."""
        ratio: float = config_value(config, "hidden_ratio", float, cls.hidden_ratio)
        return positive(config, "intermediate_size", -(int(width * ratio) // -32) * 32)

    def hidden_states(self, tokens: Tensor, passing: ForwardPass) -> Tensor:
        """What the language head would read: (B, T, E)."""
        residual = passing.stream(functional.embedding(tokens, self.weights[EMBEDDING]))
        if f"{_FIRST_NORM}.weight" in self.weights:
            residual = self.norm(residual, _FIRST_NORM)
        given: dict[str, Tensor] = {}
        for layer in self.layers:
            block = layer.path.removesuffix(".attn")
            hidden = self.norm(residual, f"{block}.attn_norm")
            if isinstance(layer.mixer, RWKV7Layer) and not given:
                p = {role: self.weights[name] for role, name in layer.parameters.items()}
                given = {"first_value": layer.mixer.own_value(hidden, p)}
            residual = residual + passing.mixed(layer, hidden, given)
            hidden = self.norm(residual, f"{block}.ffn_norm")
            residual = passing.stream(residual + self.channel_mixed(hidden, f"{block}.ffn."))
        return self.norm(residual, _LAST_NORM)

    def norm(self, x: Tensor, name: str) -> Tensor:
        """The layer norm called `name`."""
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return functional.layer_norm(x, weight.shape, weight, bias, self.norm_epsilon)


class RWKV6Model(RWKVModel):
    """A model of RWKV-6."""

    hidden_ratio: ClassVar[float] = 3.5

    @classmethod
    def channel_shapes(cls, width: int, inner: int) -> Mapping[str, tuple[int, ...]]:
        """The shapes of a block's channel mixing, by their names below `ffn.`."""
        return {
            "key.mu": (width,),
            "key.linear.weight": (inner, width),
            "value.weight": (width, inner),
            "receptance.mu": (width,),
            "receptance.linear.weight": (width, width),
        }

    def channel_mixed(self, x: Tensor, ffn: str) -> Tensor:
        """The channel mixing of x (B, T, E) with the weights below `ffn`."""
        change = token_before(x) - x
        key, receptance = (
            functional.linear(
                x + change * self.weights[f"{ffn}{name}.mu"],
                self.weights[f"{ffn}{name}.linear.weight"],
            )
            for name in ("key", "receptance")
        )
        value = functional.linear(functional.relu(key).square(), self.weights[f"{ffn}value.weight"])
        return receptance.sigmoid() * value


class RWKV7Model(RWKVModel):
    """A model of RWKV-7."""

    # In a hybrid there need not be the first layer's values: fla itself cannot run one.
    usual: ClassVar[Mapping[str, object]] = {**RWKVModel.usual, "attn": None}

    @classmethod
    def channel_shapes(cls, width: int, inner: int) -> Mapping[str, tuple[int, ...]]:
        """The shapes of a block's channel mixing, by their names below `ffn.`."""
        return {"x_k": (width,), "key.weight": (inner, width), "value.weight": (width, inner)}

    def channel_mixed(self, x: Tensor, ffn: str) -> Tensor:
        """The channel mixing of x (B, T, E) with the weights below `ffn`."""
        mixed = x + (token_before(x) - x) * self.weights[f"{ffn}x_k"]
        key = functional.linear(mixed, self.weights[f"{ffn}key.weight"])
        return functional.linear(functional.relu(key).square(), self.weights[f"{ffn}value.weight"])
