"""A model of fla, run by the equations of its mixers.

    r_0 = embeddings[tokens]                                                 (B, T, E)
    r_l = r_{l-1} + mixer_l(attn_norm_l(r_{l-1}))
    r_l = r_l + W_down (silu(W_gate x) * W_up x),  x = mlp_norm_l(r_l)
    out = norm(r_L)

B batch, T tokens, E model width. The norms are root mean square norms with a learned weight. Files
of 2024 have W_gate and W_up below each other in one tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.architectures.base import Configured, Layer, config_value, positive
from spectrakit.architectures.written_out import ForwardPass, WrittenOutModel
from spectrakit.dynamics import Contraction, OuterProduct, ScalarDecay
from spectrakit.scans.chunked import chunk_scan
from spectrakit_fla.mixers.pieces import weighted_norm

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Observation
else:
    functional = lazy_import("torch.nn.functional")

BLOCKS = "model.layers."
EMBEDDING = "model.embeddings.weight"
FINAL_NORM = "model.norm.weight"


class FlaModel(WrittenOutModel):
    """Embedding, blocks of a mixer and a gated MLP, and a final norm; the head is not computed."""

    #: Options of what is around the mixers that are read at these values only.
    usual: ClassVar[Mapping[str, object]] = {"hidden_act": "swish", "attnres_block_size": None}
    #: `hidden_ratio` where the config does not have it.
    hidden_ratio: ClassVar[float] = 4

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Mapping[str, Tensor],
        config: Configured,
        initial: Initial,
    ) -> None:
        """`weights` are by their names in the file; initial: what they were before training."""
        super().__init__(layers, weights, initial)
        self.norm_epsilon: float = config_value(config, "norm_eps", float, 1e-6)

    @classmethod
    def around(cls, checkpoint: TensorSource, layers: int) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor outside the mixers of so many `layers`, by its name.

        Raises MalformedError where the config's sizes are none.
        """
        width = positive(checkpoint, "hidden_size", 2048)
        inner = cls._mlp_width(checkpoint, width)
        shapes: dict[str, tuple[int, ...]] = {
            EMBEDDING: (positive(checkpoint, "vocab_size", 32_000), width),
            FINAL_NORM: (width,),
        }
        for number in range(layers):
            block = f"{BLOCKS}{number}"
            shapes[f"{block}.attn_norm.weight"] = (width,)
            shapes[f"{block}.mlp_norm.weight"] = (width,)
            shapes[f"{block}.mlp.down_proj.weight"] = (width, inner)
            if f"{block}.mlp.up_proj.weight" in checkpoint.tensors:
                shapes[f"{block}.mlp.up_proj.weight"] = (inner, width)
                shapes[f"{block}.mlp.gate_proj.weight"] = (inner, width)
            else:
                shapes[f"{block}.mlp.gate_proj.weight"] = (2 * inner, width)
        return shapes

    @classmethod
    def _mlp_width(cls, config: Configured, width: int) -> int:
        """`intermediate_size`, or two thirds of `hidden_ratio` model widths, to multiples of 256.

        A `hidden_ratio` of null is 4 in all families.
        """
        default = 4 if "hidden_ratio" in config.config else cls.hidden_ratio
        ratio: float = config_value(config, "hidden_ratio", float, default)
        return positive(config, "intermediate_size", -(int(width * ratio * 2 / 3) // -256) * 256)

    @property
    def vocabulary_size(self) -> int:
        """Rows of the input embedding."""
        return self.weights[EMBEDDING].shape[0]

    def hidden_states(self, tokens: Tensor, passing: ForwardPass) -> Tensor:
        """What the language head would read: (B, T, E)."""
        residual = passing.stream(functional.embedding(tokens, self.weights[EMBEDDING]))
        for layer in self.layers:
            residual = passing.stream(self.block(layer, residual, passing))
        return self.norm(residual, FINAL_NORM)

    def block(self, layer: Layer, residual: Tensor, passing: ForwardPass) -> Tensor:
        """The residual stream (B, T, E) after the block of `layer`."""
        block = layer.path.removesuffix(".attn")
        hidden = self.norm(residual, f"{block}.attn_norm.weight")
        residual = residual + passing.mixed(layer, hidden)
        return residual + self._mlp(self.norm(residual, f"{block}.mlp_norm.weight"), block)

    def scanned(self, layer: Layer, observation: Observation) -> Tensor:
        """By chunks of tokens where A is the same for all of them, else token by token."""
        recurrence, u = observation.recurrence, observation.inputs
        operator, write, read = recurrence.operator, recurrence.input_map, recurrence.output_map
        if not (
            recurrence.mode == "static"
            and isinstance(operator, ScalarDecay)
            and isinstance(write, OuterProduct)
            and isinstance(read, Contraction)
        ):
            return super().scanned(layer, observation)
        step = u.new_ones(u.shape[:3])
        key, query = write.matrix(operator.heads), read.matrix(operator.heads)
        y, _ = chunk_scan(step, u, operator.log_decay, key, query, skip=None)
        return y

    def norm(self, x: Tensor, name: str) -> Tensor:
        """The root mean square norm with the weight called `name`."""
        return weighted_norm(x, self.weights[name], self.norm_epsilon)

    def _mlp(self, x: Tensor, block: str) -> Tensor:
        gate = functional.linear(x, self.weights[f"{block}.mlp.gate_proj.weight"])
        if f"{block}.mlp.up_proj.weight" in self.weights:
            up = functional.linear(x, self.weights[f"{block}.mlp.up_proj.weight"])
        else:
            gate, up = gate.chunk(2, dim=-1)
        down = self.weights[f"{block}.mlp.down_proj.weight"]
        return functional.linear(functional.silu(gate) * up, down)
