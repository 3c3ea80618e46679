"""A model of Mamba-3 layers, run by their equations; blocks are those of mamba_ssm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit.architectures.mamba_ssm_model import Backbone, MambaSSMModel
from spectrakit.architectures.written_out import read_written_out
from spectrakit.dynamics import Contraction, OuterProduct
from spectrakit.dynamics.rotated_decay import RotatedDecay
from spectrakit.errors import UnsupportedError
from spectrakit.wording import given
from spectrakit_mamba3.scan import chunked_scan

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Observation

#: Roles that both libraries keep in float32.
_PRECISE = (
    "step_bias",
    "key_bias",
    "query_bias",
    "D",
    "input_ranks",
    "gate_ranks",
    "output_ranks",
)


class Mamba3Model(MambaSSMModel):
    """Embedding, blocks of a mixer (and an MLP), and a final norm; the head is not computed."""

    def scanned(self, layer: Layer, observation: Observation) -> Tensor:  # noqa: ARG002
        """In chunks where a head has one key; token by token where it has several."""
        recurrence, u = observation.recurrence, observation.inputs
        operator, write, read = recurrence.operator, recurrence.input_map, recurrence.output_map
        if not (
            isinstance(operator, RotatedDecay)
            and isinstance(write, OuterProduct)
            and isinstance(read, Contraction)
        ):
            return recurrence.run(u)
        driven = u if write.gain is None else u * write.gain.unsqueeze(-1)
        y = chunked_scan(operator, write.key, read.query, driven)
        return y if recurrence.feedthrough is None else y + recurrence.feedthrough * u


def load_mamba3_model(
    checkpoint: TensorSource,
    layers: Sequence[Layer],
    backbone: Backbone,
    initial: Initial,
    device: str,
    dtype: str,
) -> Mamba3Model:
    """The model of `layers`, which have been checked, and what is around them.

    initial: what training starts from, in the library that wrote the file.

    Raises MalformedError where the weights are not those of the config, UnsupportedError where a
    layer cannot be read, and so not be run.
    """
    for layer in layers:
        if not layer.runs:
            message = f"{checkpoint.model_id}: layer {layer.index}: {layer.reason}"
            raise UnsupportedError(message, hint=given(mode="weights"))
    around = backbone.shapes(layers)
    weights = read_written_out(checkpoint, layers, around, device, dtype, precise=_PRECISE)
    return Mamba3Model(layers, weights, backbone, initial)
