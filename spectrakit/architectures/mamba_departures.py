"""Where transformers' ports of Mamba differ from the published models, and what undoes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from spectrakit.architectures.equations import Departure
from spectrakit.architectures.taps import unknown_transformers

if TYPE_CHECKING:
    from torch import nn

RESCALED_AT_LOAD = Departure(
    ("mamba", "falcon_mamba", "mamba2"),
    what="`out_proj` under `rescale_prenorm_residual`",
    own="scaled once, before training (mamba_ssm, `_init_weights`)",
    port="transformers 5.23 divides it by sqrt(layers) at every load",
    follows="the published model",
    why="the option says how initial weights are drawn; those of a file are used as they are",
    matters=lambda config: bool(config.get("rescale_prenorm_residual")),
)


def floor_of_steps(model_type: str, own: str, seen: str) -> Departure:
    """The clamp of Nemotron-H and Zamba-2; own: what the published code does, and whose it is.

    seen: where the port's was seen.
    """

    def matters(config: Mapping[str, Any]) -> bool:
        limit = config.get("time_step_limit") or (0.0, math.inf)
        return list(limit) != [config.get("time_step_min", 0.001), math.inf]

    return Departure(
        (model_type,),
        what="the limit of the step",
        own=own,
        port=f"{seen}: no step below `time_step_min`, 0.001, and none too large",
        follows="the published model",
        why="`time_step_min` says how initial steps are drawn; as a floor it cuts the longest "
        "memories",
        matters=matters,
    )


def clamped_to(limit: tuple[float, float]) -> Callable[[nn.Module], None]:
    """Has a Mamba-2 module of transformers clamp its steps to `limit`, whatever it would itself.

    Raises UnsupportedError, when called, for a module that holds no limit.
    """

    def amend(module: nn.Module) -> None:
        if not hasattr(module, "time_step_limit"):
            raise unknown_transformers(f"{type(module).__name__} has no time_step_limit")
        holder: Any = module
        holder.time_step_limit = limit

    return amend
