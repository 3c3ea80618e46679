"""Mamba, FalconMamba and Mamba-2 checkpoints in the format of transformers (with `model_type`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.architectures.base import config_value, positive
from spectrakit.architectures.transformers_model import Scan, TransformersArchitecture
from spectrakit.errors import MalformedError
from spectrakit.mixers import Mamba, Mamba2, Observation

if TYPE_CHECKING:
    from torch.nn import functional

    from spectrakit.checkpoints import Checkpoint
    from spectrakit.mixers import Mixer
else:
    functional = lazy_import("torch.nn.functional")


def read_selective_scan(mixer: Mixer, call: Mapping[str, Any]) -> Observation:
    """From a call of `mamba_selective_scan`: time is the last axis there, the second here."""
    assert isinstance(mixer, Mamba)  # noqa: S101  (architectures pair the scan with its mixer)
    raw = call["dt"]
    if call["delta_bias"] is not None:
        raw = raw + call["delta_bias"].to(raw.dtype)[:, None]
    step = functional.softplus(raw) if call["delta_softplus"] else raw
    recurrence = mixer.observed(
        step.transpose(1, 2),
        call["B"].transpose(1, 2),
        call["C"].transpose(1, 2),
        -call["A"],
        call["D"],
    )
    return Observation(recurrence, call["hidden_states"].transpose(1, 2).unsqueeze(-1))


def read_chunk_scan(mixer: Mixer, call: Mapping[str, Any]) -> Observation:
    """From a call of `mamba2_chunk_scan`."""
    assert isinstance(mixer, Mamba2)  # noqa: S101  (architectures pair the scan with its mixer)
    step = call["dt"] if call["dt_bias"] is None else call["dt"] + call["dt_bias"]
    if call["dt_softplus"]:
        step = functional.softplus(step)
    recurrence = mixer.observed(
        step.clamp(*call["dt_limit"]), call["B"], call["C"], -call["A"], call["D"]
    )
    return Observation(recurrence, call["hidden_states"])


SELECTIVE_SCAN = Scan("mamba_selective_scan", read_selective_scan)
CHUNK_SCAN = Scan("mamba2_chunk_scan", read_chunk_scan)


# Where the parameters lie inside a mixer; state-spaces' own files agree on every name.
_SHARED_NAMES = {
    "A_log": "A_log",
    "D": "D",
    "input_projection": "in_proj.weight",
    "input_projection_bias": "in_proj.bias",
    "convolution": "conv1d.weight",
    "convolution_bias": "conv1d.bias",
    "output_projection": "out_proj.weight",
    "output_projection_bias": "out_proj.bias",
}
MAMBA_NAMES = _SHARED_NAMES | {
    "step_bias": "dt_proj.bias",
    "step_projection": "dt_proj.weight",
    "selection_projection": "x_proj.weight",
}
MAMBA2_NAMES = _SHARED_NAMES | {"step_bias": "dt_bias", "norm": "norm.weight"}


class TransformersMamba(TransformersArchitecture):
    """`model_type` mamba and falcon_mamba."""

    name: ClassVar[str] = "transformers-mamba"
    model_types: ClassVar[tuple[str, ...]] = ("mamba", "falcon_mamba")
    default_layers: ClassVar[int] = 32
    parameter_names: ClassVar[Mapping[str, str]] = MAMBA_NAMES
    scan: ClassVar[Scan] = SELECTIVE_SCAN

    def mixer(self, checkpoint: Checkpoint) -> Mamba:
        """The mixer of every layer, from the config."""
        width = positive(checkpoint, "hidden_size", 768)
        rank = checkpoint.config.get("time_step_rank", "auto")
        normed = checkpoint.config["model_type"] == "falcon_mamba"
        expand = config_value(checkpoint, "expand", float, 2)
        return Mamba(
            model_width=width,
            # FalconMamba's config states the inner width, and its `expand` says something else.
            channels=positive(checkpoint, "intermediate_size", int(expand * width)),
            state_size=positive(checkpoint, "state_size", 16),
            step_rank=(
                math.ceil(width / 16) if rank == "auto" else positive(checkpoint, "time_step_rank")
            ),
            convolution_width=positive(checkpoint, "conv_kernel", 4),
            norm_epsilon=config_value(checkpoint, "mixer_rms_eps", float, 1e-6) if normed else None,
            projection_bias=config_value(checkpoint, "use_bias", bool, False),
            convolution_bias=config_value(checkpoint, "use_conv_bias", bool, True),
        )


class TransformersMamba2(TransformersArchitecture):
    """`model_type` mamba2."""

    name: ClassVar[str] = "transformers-mamba2"
    model_types: ClassVar[tuple[str, ...]] = ("mamba2",)
    default_layers: ClassVar[int] = 64
    parameter_names: ClassVar[Mapping[str, str]] = MAMBA2_NAMES
    scan: ClassVar[Scan] = CHUNK_SCAN

    def mixer(self, checkpoint: Checkpoint) -> Mamba2:
        """The mixer of every layer, from the config."""
        return Mamba2(
            model_width=positive(checkpoint, "hidden_size", 4096),
            heads=positive(checkpoint, "num_heads", 128),
            head_width=positive(checkpoint, "head_dim", 64),
            state_size=positive(checkpoint, "state_size", 128),
            groups=positive(checkpoint, "n_groups", 8),
            convolution_width=positive(checkpoint, "conv_kernel", 4),
            step_limit=step_limit(checkpoint, "time_step_limit", checkpoint.config),
            norm_epsilon=config_value(checkpoint, "layer_norm_epsilon", float, 1e-5),
            projection_bias=config_value(checkpoint, "use_bias", bool, False),
            convolution_bias=config_value(checkpoint, "use_conv_bias", bool, True),
        )


def step_limit(checkpoint: Checkpoint, key: str, config: Mapping[str, Any]) -> tuple[float, float]:
    """The interval a Mamba-2 step is clamped to. Raises MalformedError where it is not one."""
    limit = config.get(key, (0.0, math.inf))
    try:
        low, high = (float(end) for end in limit)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not 0 <= low <= high:
        message = f"config.json of {checkpoint.model_id}: {key} is {limit!r}, not an interval"
        raise MalformedError(message)
    return low, high
