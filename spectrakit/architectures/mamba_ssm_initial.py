"""What models of the mamba_ssm library start training from, by the names of their tensors.

    A_log            log(1 ... N) per channel of Mamba, log U(*A_init_range) per head of Mamba-2
    dt_bias, dt_proj.bias     softplus^-1 of a step that is log-uniform in [dt_min, dt_max]
    dt_proj.weight   U(-b, b), or b itself (dt_init), with b = dt_scale / sqrt(rank)
    conv1d.*         U(-b, b) with b = 1 / sqrt(width), or conv_init of Mamba-2's weights
    out_proj, fc2    U(-b, b) with b = 1 / sqrt(inputs R), R of the model's residual branches
    others           U(-b, b) with b = 1 / sqrt(inputs); the embedding N(0, 0.02^2)
    norms, D         1, and other biases 0
    B_bias, C_bias, mimo_z     1, and mimo_x, mimo_o 1 over the ranks: of Mamba-3

What ssm_cfg leaves out has the defaults of the library's classes.
(github.com/state-spaces/mamba, modules/ and models/mixer_seq_simple.py.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from spectrakit.architectures.base import config_value, positive
from spectrakit.architectures.published_initial import (
    Steps,
    convolution,
    log_rates,
    mamba2_rates,
    natural_log_rates,
    step_projection,
)
from spectrakit.architectures.transformers_family import PartConfig

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures.base import Configured
    from spectrakit.architectures.initial_weights import Draw, Initial
    from spectrakit.checkpoints import TensorSource

_ONE = re.compile(r"norm[^.]*\.weight$|\.(D|B_bias|C_bias|mimo_z)$")
_STEP_BIAS = re.compile(r"\.(dt_bias|dt_proj\.bias)$")
_LEAVES_A_BRANCH = re.compile(r"\.(out_proj|fc2)\.weight$")


def initial_mamba_ssm(checkpoint: TensorSource) -> Initial:
    """Of the model in `checkpoint`.

    Raises MalformedError where an option of its config has no sense.
    """
    options = PartConfig(checkpoint.model_id, config_value(checkpoint, "ssm_cfg", dict, {}))
    attending = config_value(checkpoint, "attn_layer_idx", list, [])
    attention = tuple(f"backbone.layers.{number}." for number in attending)
    branches = 2 if config_value(checkpoint, "d_intermediate", int, 0) else 1
    branches *= positive(checkpoint, "n_layer")
    layers_own = initial_of_layers(options)

    def drawn(name: str, draw: Draw) -> Tensor:
        found = layers_own(name, draw)
        if found is not None:
            return found
        if name.endswith(".conv1d.bias"):
            width = checkpoint.tensors[name.removesuffix("bias") + "weight"].shape[-1]
            return draw.uniform(-(width**-0.5), width**-0.5)
        if name.endswith(".conv1d.weight") and not name.startswith(attention):
            return convolution(draw, options)
        if name.endswith("bias"):
            return draw.constant(0)
        if name.endswith("embedding.weight"):
            return draw.normal(0.02)
        return draw.by_inputs(branches**-0.5 if _LEAVES_A_BRANCH.search(name) else 1)

    return drawn


def initial_of_layers(options: Configured) -> Callable[[str, Draw], Tensor | None]:
    """Of norms and of what Mamba's layers have beside projections; None of all else.

    options: of the layers, `ssm_cfg`.

    Raises MalformedError where one of them has no sense.
    """
    steps, rates = Steps.of(options), mamba2_rates(options)

    def drawn(name: str, draw: Draw) -> Tensor | None:
        if _ONE.search(name):
            return draw.constant(1)
        if name.endswith((".mimo_x", ".mimo_o")):
            return draw.constant(1 / draw.shape[1])
        if _STEP_BIAS.search(name):
            return steps.bias(draw)
        if name.endswith(".dt_proj.weight"):
            return step_projection(draw, options)
        if name.endswith(".A_log") and len(draw.shape) == 1:
            return log_rates(draw, *rates)
        if name.endswith(".A_log"):
            return natural_log_rates(draw)
        return None

    return drawn
