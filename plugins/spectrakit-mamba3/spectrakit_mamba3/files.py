"""What files of mamba_ssm and of flash-linear-attention have in common where they hold Mamba-3.

    dt_bias (H,)    in_proj.weight    B_bias, C_bias (H, R, N)    B_norm.weight, C_norm.weight (N,)
    D (H,)          out_proj.weight   norm.weight (H P,)          mimo_x, mimo_z, mimo_o (H, R, P)

H heads, N state, P head width, R ranks. `norm` is there with `is_outproj_norm`, `mimo_*` with
`is_mimo`, and fla may have biases of both projections. Nothing in a file says how A_t is made of
its projection: both libraries have changed that under the same names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spectrakit.architectures.base import config_value, positive
from spectrakit.architectures.options import Option, require
from spectrakit.errors import MalformedError
from spectrakit_mamba3.mimo import Mamba3MIMO
from spectrakit_mamba3.mixer import Mamba3

if TYPE_CHECKING:
    from spectrakit.architectures.base import Configured, Layer

A_FORM = Option("a_form", ("softplus", "heavy_tail", "positive_floor"))

#: Names inside a layer, by role.
NAMES = {
    "step_bias": "dt_bias",
    "input_projection": "in_proj.weight",
    "input_projection_bias": "in_proj.bias",
    "key_bias": "B_bias",
    "query_bias": "C_bias",
    "key_norm": "B_norm.weight",
    "query_norm": "C_norm.weight",
    "D": "D",
    "norm": "norm.weight",
    "output_projection": "out_proj.weight",
    "output_projection_bias": "out_proj.bias",
    "input_ranks": "mimo_x",
    "gate_ranks": "mimo_z",
    "output_ranks": "mimo_o",
}

_ROTATED_SHARES = (0.5, 1.0)


def mamba3(
    source: Configured,
    options: Configured,
    *,
    model_width: int,
    state_size: int,
    head_width: int,
    groups: int,
    norm_epsilon: float = 1e-5,
    projection_bias: bool = False,
) -> Mamba3:
    """The mixer of every layer.

    source: says `a_form`. options: has the keys that the two libraries call alike. The rest is what
    they call differently, or one of them does not have.

    Raises UsageError where `a_form` is not given, MalformedError where sizes do not fit each other.
    """
    require(source, (A_FORM,))
    channels = int(config_value(options, "expand", float, 2.0) * model_width)
    heads = channels // head_width
    if channels % head_width or heads % groups or not heads:
        message = (
            f"config.json of {options.model_id}: {channels} channels in heads of {head_width}, "
            f"in {groups} groups"
        )
        raise MalformedError(message)
    several = config_value(options, "is_mimo", bool, False)
    mixer = Mamba3(
        model_width=model_width,
        heads=heads,
        head_width=head_width,
        state_size=state_size,
        pairs=_pairs(options, state_size, halves=several),
        a_form=A_FORM.value(source),
        a_floor=config_value(options, "A_floor", float, 1e-4),
        groups=groups,
        output_norm=config_value(options, "is_outproj_norm", bool, False),
        norm_epsilon=norm_epsilon,
        projection_bias=projection_bias,
    )
    if several:
        return Mamba3MIMO(**vars(mixer), rank=positive(options, "mimo_rank", 4))
    return mixer


def as_far_as_read(layer: Layer) -> Layer:
    """`layer`, which says so where only its A is read."""
    if not isinstance(layer.mixer, Mamba3MIMO) or not layer.mixer.output_norm:
        return layer
    reason = "MIMO with a norm of every rank is no linear recurrence; only its A is read"
    return replace(layer, runs=False, reason=reason)


def _pairs(options: Configured, state_size: int, *, halves: bool) -> int:
    """How many pairs of the state rotate.

    halves: whether the two of a pair are in different halves of the state, which must be even then.
    """
    share = config_value(options, "rope_fraction", float, 0.5)
    pairs = int(state_size * share) // 2
    if share not in _ROTATED_SHARES or not pairs or (halves and state_size % 2):
        where = f"config.json of {options.model_id}"
        message = f"{where}: rope_fraction is {share}, of a state of {state_size}"
        raise MalformedError(message, hint=f"rope_fraction is one of {_ROTATED_SHARES}")
    return pairs
