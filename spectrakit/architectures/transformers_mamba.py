"""Mamba, FalconMamba and Mamba-2 checkpoints in the format of transformers (with `model_type`)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from spectrakit._lazy import lazy_import
from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.architectures.config_keys import words
from spectrakit.architectures.mamba_departures import RESCALED_AT_LOAD
from spectrakit.architectures.taps import FunctionSource, Seen, Tap, first
from spectrakit.architectures.transformers_family import (
    Block,
    Part,
    PartConfig,
    TransformersArchitecture,
)
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.mixers import Mamba, Mamba2, Observation

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional

    from spectrakit.architectures.equations import Departure
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer
else:
    torch = lazy_import("torch")
    functional = lazy_import("torch.nn.functional")


def read_selective_scan(mixer: Mixer, seen: Seen) -> Observation:
    """From the calls of `mamba_selective_scan`, one for each of the mixer's groups.

    Time is the last axis there, the second here.
    """
    assert isinstance(mixer, Mamba)  # noqa: S101  (architectures pair the scan with its mixer)
    calls = [call.arguments for call in seen.calls]
    recurrence = mixer.observed(
        _joined([_scan_step(call) for call in calls], 1).transpose(1, 2),
        torch.stack([call["B"] for call in calls], 1).movedim(-1, 1),
        torch.stack([call["C"] for call in calls], 1).movedim(-1, 1),
        -_joined([call["A"] for call in calls], 0),
        _joined([call["D"] for call in calls], 0),
    )
    gate = _joined([call["z"] for call in calls], 1)

    def finish(y: Tensor) -> Tensor:
        return y.squeeze(-1).transpose(1, 2) * functional.silu(gate)

    inputs = _joined([call["hidden_states"] for call in calls], 1)
    outputs = _joined([first(call.output) for call in seen.calls], 1)
    return Observation(recurrence, inputs.transpose(1, 2).unsqueeze(-1), finish, outputs)


def _scan_step(call: Mapping[str, Any]) -> Tensor:
    """Delta (B, D, T)."""
    raw = call["dt"]
    if call["delta_bias"] is not None:
        raw = raw + call["delta_bias"].to(raw.dtype)[:, None]
    return functional.softplus(raw.float()) if call["delta_softplus"] else raw.float()


def _joined(parts: Sequence[Tensor], axis: int) -> Tensor:
    """The channels of all groups; without a copy where there is one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), axis)


def read_chunk_scan(mixer: Mixer, seen: Seen) -> Observation:
    """From a call of `mamba2_chunk_scan`."""
    assert isinstance(mixer, Mamba2)  # noqa: S101  (architectures pair the scan with its mixer)
    (scan,) = seen.calls
    call = scan.arguments
    step = call["dt"] if call["dt_bias"] is None else call["dt"] + call["dt_bias"]
    step = functional.softplus(step.float()) if call["dt_softplus"] else step.float()
    recurrence = mixer.observed(
        step.clamp(*call["dt_limit"]), call["B"], call["C"], -call["A"], call["D"]
    )
    return Observation(recurrence, call["hidden_states"], outputs=first(scan.output))


SELECTIVE_SCAN = Tap(FunctionSource("mamba_selective_scan"), read_selective_scan)
CHUNK_SCAN = Tap(FunctionSource("mamba2_chunk_scan"), read_chunk_scan)


#: Prefix of the numbered blocks, of transformers and of state-spaces' own files.
BLOCKS = "backbone.layers."

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
    reads: ClassVar[frozenset[str]] = words(
        """
        hidden_size expand state_size conv_kernel use_bias use_conv_bias
        intermediate_size mixer_rms_eps time_step_rank
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        d_inner d_model fused_add_norm n_layer pad_vocab_size_multiple use_mamba_kernels
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"rms_norm": True}
    departures: ClassVar[tuple[Departure, ...]] = (RESCALED_AT_LOAD,)
    module_prefix: ClassVar[str] = BLOCKS
    file_prefixes: ClassVar[tuple[str, ...]] = (BLOCKS, "layers.")
    default_blocks: ClassVar[int | None] = 32

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One mixer each."""
        part = Part("mixer", _mamba(config), SELECTIVE_SCAN, MAMBA_NAMES)
        return [(part,)] * self.count(config)


def _mamba(config: Configured) -> Mamba:
    width = positive(config, "hidden_size", 768)
    rank = config.config.get("time_step_rank", "auto")
    normed = config.config["model_type"] == "falcon_mamba"
    expand = config_value(config, "expand", float, 2)
    return Mamba(
        model_width=width,
        # FalconMamba's config states the inner width, and its `expand` says something else.
        channels=positive(config, "intermediate_size", int(expand * width)),
        state_size=positive(config, "state_size", 16),
        step_rank=(math.ceil(width / 16) if rank == "auto" else positive(config, "time_step_rank")),
        convolution_width=positive(config, "conv_kernel", 4),
        norm_epsilon=config_value(config, "mixer_rms_eps", float, 1e-6) if normed else None,
        projection_bias=config_value(config, "use_bias", bool, False),
        convolution_bias=config_value(config, "use_conv_bias", bool, True),
    )


#: Options of Mamba-2 that flash-linear-attention (fla) calls otherwise than transformers.
_FLA_NAMES = {"norm_eps": "layer_norm_epsilon", "dt_limit": "time_step_limit"}
#: Those that transformers does not have, at the values at which both are the same layer.
_FLA_MAMBA2 = {"rmsnorm": True, "norm_before_gate": False, "D_has_hdim": False}


class TransformersMamba2(TransformersArchitecture):
    """`model_type` mamba2, which fla writes too."""

    name: ClassVar[str] = "transformers-mamba2"
    model_types: ClassVar[tuple[str, ...]] = ("mamba2",)
    reads: ClassVar[frozenset[str]] = words(
        """
        hidden_size state_size conv_kernel use_bias use_conv_bias
        head_dim layer_norm_epsilon n_groups num_heads time_step_limit
        D_has_hdim dt_limit norm_before_gate norm_eps rmsnorm
        """
    )
    irrelevant: ClassVar[frozenset[str]] = words(
        """
        A_init_range conv_init d_inner dt_init_floor dt_max dt_min fuse_cross_entropy
        fuse_linear_cross_entropy fuse_norm fuse_swiglu intermediate_size time_step_init_scheme
        time_step_scale use_l2warp use_mamba_kernels
        """
    )
    fixed: ClassVar[Mapping[str, object]] = {"rms_norm": True}
    departures: ClassVar[tuple[Departure, ...]] = (RESCALED_AT_LOAD,)
    module_prefix: ClassVar[str] = BLOCKS
    file_prefixes: ClassVar[tuple[str, ...]] = (BLOCKS, "layers.")
    default_blocks: ClassVar[int | None] = 64

    def config(self, checkpoint: TensorSource) -> Configured:
        """In transformers' names, whichever library wrote it."""
        config = super().config(checkpoint)
        # What transformers wrote may say norm_before_gate = true as well, without effect there.
        own = "norm_eps" not in config.config or "layer_norm_epsilon" in config.config
        return config if own else _from_fla(config)

    def blocks(self, config: Configured) -> Sequence[Block]:
        """One mixer each."""
        part = Part("mixer", _mamba2(config), CHUNK_SCAN, MAMBA2_NAMES)
        return [(part,)] * self.count(config)


def _mamba2(config: Configured) -> Mamba2:
    return Mamba2(
        model_width=positive(config, "hidden_size", 4096),
        heads=positive(config, "num_heads", 128),
        head_width=positive(config, "head_dim", 64),
        state_size=positive(config, "state_size", 128),
        groups=positive(config, "n_groups", 8),
        convolution_width=positive(config, "conv_kernel", 4),
        step_limit=step_limit(config, "time_step_limit", config.config),
        norm_epsilon=config_value(config, "layer_norm_epsilon", float, 1e-5),
        projection_bias=config_value(config, "use_bias", bool, False),
        convolution_bias=config_value(config, "use_conv_bias", bool, True),
    )


def _from_fla(config: Configured) -> PartConfig:
    """The config of a file of fla, in transformers' names.

    Raises UnsupportedError where its layers are not those of transformers.
    """
    for key, value in _FLA_MAMBA2.items():
        found = config.config.get(key, value)
        if found is not value:
            message = f"{config.model_id}: {key} = {json.dumps(found)} is not read of Mamba-2"
            raise UnsupportedError(message, hint=f"only {key} = {json.dumps(value)} is")
    renamed = {_FLA_NAMES.get(key, key): value for key, value in config.config.items()}
    return PartConfig(config.model_id, renamed)


def step_limit(source: Configured, key: str, options: Mapping[str, Any]) -> tuple[float, float]:
    """The interval a Mamba-2 step is clamped to. Raises MalformedError where it is not one."""
    limit = options.get(key)
    limit = (0.0, math.inf) if limit is None else limit
    try:
        low, high = (float(end) for end in limit)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not 0 <= low <= high:
        message = f"config.json of {source.model_id}: {key} is {limit!r}, not an interval"
        raise MalformedError(message)
    return low, high
