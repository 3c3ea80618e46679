"""What Mamba-3 of flash-linear-attention starts training from.

Like mamba_ssm's where a layer has more than projections. Embedding and projections are
N(0, initializer_range^2), their biases 0; what leaves a layer is U(-b, b) with b = 1 / sqrt(inputs
layers), unless `rescale_prenorm_residual` is false. As in fla 0.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.architectures.base import config_value, positive
from spectrakit.architectures.mamba_ssm_initial import initial_of_layers

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures.base import Configured
    from spectrakit.architectures.initial_weights import Draw, Initial


def initial_fla_mamba3(config: Configured) -> Initial:
    """Of a model of fla with this config.

    Raises MalformedError where an option of it has no sense.
    """
    std: float = config_value(config, "initializer_range", float, 0.02)
    layers = positive(config, "num_hidden_layers", 48)
    rescaled = config_value(config, "rescale_prenorm_residual", bool, True)
    layers_own = initial_of_layers(config)

    def drawn(name: str, draw: Draw) -> Tensor:
        found = layers_own(name, draw)
        if found is not None:
            return found
        if name.endswith(".bias"):
            return draw.constant(0)
        leaves = name.endswith(".out_proj.weight") and rescaled
        return draw.by_inputs(layers**-0.5) if leaves else draw.normal(std)

    return drawn
