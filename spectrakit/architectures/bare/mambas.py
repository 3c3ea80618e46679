"""Mamba and Mamba-2, and what models of images make of Mamba.

    Mamba     X.A_log (D, N), X.dt_proj.weight (D, R), X.dt_proj.bias (D,)
    Vim       besides, for the scan that reads backwards: X.A_b_log, X.dt_proj_b.*
    VMamba    X.A_logs (K D, N), X.dt_projs_weight (K, D, R), X.dt_projs_bias (K, D)
    Mamba-2   X.A_log (H,), X.dt_bias (H,), X.conv1d.weight (H P + 2 G N, 1, width)

D channels, N state, R rank of the step, K scans over an image, H heads of width P, G groups. How
many groups share N, and the interval a step of Mamba-2 is clamped to, are not in the weights.
Zhu et al. 2024 (arXiv 2401.09417), Liu et al. 2024 (arXiv 2401.10166).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.architectures.bare.parts import Place, Recognised
from spectrakit.architectures.options import Option
from spectrakit.architectures.transformers_mamba import MAMBA2_NAMES, MAMBA_NAMES, step_limit
from spectrakit.mixers import Mamba, Mamba2

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorSource

GROUPS = Option("n_groups", (int,))
#: Keys under which configs have the interval of the step.
LIMITS = ("time_step_limit", "dt_limit")

#: The names of the backward scan; input and output projection are those of both.
_BACKWARD = MAMBA_NAMES | {
    "A_log": "A_b_log",
    "D": "D_b",
    "convolution": "conv1d_b.weight",
    "convolution_bias": "conv1d_b.bias",
    "step_bias": "dt_proj_b.bias",
    "step_projection": "dt_proj_b.weight",
    "selection_projection": "x_proj_b.weight",
}
_MANY_SCANS = {"A_log": "A_logs", "D": "Ds", "step_bias": "dt_projs_bias"}


def holds_mamba(source: TensorSource) -> bool:
    """Whether there is Mamba under the name that transformers with Mamba in some blocks give it."""
    return any(name.endswith(".mamba.A_log") for name in source.tensors)


def mamba_or_mamba2(place: Place) -> Recognised | None:
    """By A_log: a rate for every channel and state, or one for every head."""
    if len(place.shape("A_log")) == 2:
        return _mamba(place, MAMBA_NAMES)
    return _mamba2(place) if place.has("D") else None


def backward_mamba(place: Place) -> Recognised | None:
    """The second scan of a block of Vim."""
    return _mamba(place, _BACKWARD, inside="backward")


def scans_of_an_image(place: Place) -> Recognised | None:
    """VMamba's: the scans' channels beside each other."""
    scans, channels = (*place.shape("dt_projs_bias"), 0, 0)[:2]
    rows, states = (*place.shape("A_logs"), 0, 0)[:2]
    if not rows or rows != scans * channels or len(place.shape("A_logs")) != 2:
        return None
    mixer = Mamba(
        model_width=place.size("out_proj.weight", 0) or channels,
        channels=rows,
        state_size=states,
        step_rank=place.size("dt_projs_weight", 2),
        convolution_width=place.size("conv2d.weight", -1),
        convolution_bias=place.has("conv2d.bias"),
    )
    note = f"{scans} scans over an image, of {channels} channels each"
    return Recognised(mixer.name, mixer, place.named(_MANY_SCANS), note)


def _mamba(place: Place, names: dict[str, str], inside: str = "") -> Recognised | None:
    shape, bias = place.shape(names["A_log"]), place.shape(names["step_bias"])
    if len(shape) != 2 or 0 in shape:
        return None
    if bias != shape[:1]:
        reason = f"{names['A_log']} without a {names['step_bias']} of as many channels"
        return Recognised(Mamba.name, note=reason, inside=inside)
    channels, states = shape
    mixer = Mamba(
        model_width=place.size(names["output_projection"], 0) or channels,
        channels=channels,
        state_size=states,
        step_rank=place.size(names["step_projection"], 1),
        convolution_width=place.size(names["convolution"], -1),
        projection_bias=place.has(names["input_projection_bias"]),
        convolution_bias=place.has(names["convolution_bias"]),
    )
    note = "the scan that reads backwards" if inside else None
    return Recognised(mixer.name, mixer, place.named(names), note, inside)


def _mamba2(place: Place) -> Recognised | None:
    heads = place.size("A_log", 0)
    if not heads or place.shape("A_log") != (heads,) or place.shape("dt_bias") != (heads,):
        return None
    channels = place.size("out_proj.weight", 1) or place.size("norm.weight", 0)
    keys = (place.size("conv1d.weight", 0) - channels) // 2
    groups, told = place.option(GROUPS, 1)
    assert isinstance(groups, int)  # noqa: S101  (the option's choices)
    if not channels or channels % heads or keys <= 0 or not groups or keys % groups:
        reason = "its head width and state size are not those of any Mamba-2"
        return Recognised(Mamba2.name, note=reason)
    limit = next((key for key in LIMITS if key in place.source.config), LIMITS[0])
    mixer = Mamba2(
        model_width=place.size("out_proj.weight", 0) or channels,
        heads=heads,
        head_width=channels // heads,
        state_size=keys // groups,
        groups=groups,
        convolution_width=place.size("conv1d.weight", -1),
        step_limit=step_limit(place.source, limit, place.source.config),
        norm_epsilon=1e-5 if place.has("norm.weight") else None,
        projection_bias=place.has("in_proj.bias"),
        convolution_bias=place.has("conv1d.bias"),
    )
    unsaid = [] if told else [f"state size {keys} if n_groups is 1, which the weights do not say"]
    unsaid += (
        [] if limit in place.source.config else ["no dt_limit is taken: the weights do not say"]
    )
    note = "; ".join(unsaid) or None
    return Recognised(mixer.name, mixer, place.named(MAMBA2_NAMES), note)
