"""RWKV's own files: bare state dicts of RWKV-4 to 7, recognised by their tensors' names.

    blocks.N.att.time_decay      (C,) RWKV-4; (H,) or (H, K) RWKV-5; (1, 1, C) RWKV-6
    blocks.N.att.time_faaaa      (H, K), of RWKV-5 and 6
    blocks.N.att.ln_x.weight     (C,), from RWKV-5 on
    blocks.N.att.w0              (1, 1, C), of RWKV-7
    blocks.N.att.r_k             (H, K), of RWKV-7

C channels, H heads, K key width. The RWKV organisation's models for transformers have the same
tensors under other names, which are put back first (`rwkv_of_transformers`). The decays, or their
biases, are parameters, so weights mode reads them without a config; nothing here runs these files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures import rwkv_of_transformers
from spectrakit.architectures.base import Layer, check_parameters, numbered_layers
from spectrakit.architectures.equations import Departure
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.mixers import RWKV4, RWKV5, RWKV6, RWKV7
from spectrakit.wording import given

if TYPE_CHECKING:
    from spectrakit.architectures.base import RunnableModel
    from spectrakit.architectures.config_keys import ConfigKeys
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer

_BLOCKS = "blocks."
_PREVIEW = "a preview of RWKV-7, whose parameters have other names than those of the release"


class RWKVFiles:
    """The .pth files of the RWKV project, and its RWKV-5 and 6 for transformers (remote code)."""

    name: ClassVar[str] = "rwkv-files"
    departures: ClassVar[tuple[Departure, ...]] = (
        Departure(
            ("RWKV-5", "RWKV-6", "RWKV-7"),
            what="epsilon of the norm over each head's output",
            own="1e-5 times 8 squared, 64e-5 (BlinkDL/RWKV-LM, `head_size_divisor`)",
            port="transformers has none of these; rwkv.cpp has 1e-5 for RWKV-5 and 6",
            follows="the published model",
            why="weights mode does not depend on it; the plugin spectrakit-rwkv runs them so",
        ),
        Departure(
            ("rwkv5",),
            what="epsilon of the norm over each head's output",
            own="1e-5 times 8 squared, 64e-5 (BlinkDL/RWKV-LM, `head_size_divisor`)",
            port="the code beside RWKV/rwkv-5-world-* has 1e-5",
            follows="the published model",
            why="weights mode does not depend on it; the plugin spectrakit-rwkv runs them so",
        ),
    )

    def config_keys(self, checkpoint: TensorSource) -> ConfigKeys:  # noqa: ARG002
        """Those of models for transformers: the tensors say everything."""
        return rwkv_of_transformers.KEYS

    def claims(self, checkpoint: TensorSource) -> bool:
        """By the names of the first block's parameters; where a `model_type` is named, by those
        that RWKV-5 and 6 have in files for transformers.
        """
        if checkpoint.config.get("model_type") in rwkv_of_transformers.MODEL_TYPES:
            named = rwkv_of_transformers.is_of_the_project(checkpoint.tensors)
            return named and checkpoint.module is None
        first = (f".{_path(0)}.time_decay", f".{_path(0)}.w0")
        return "model_type" not in checkpoint.config and any(
            f".{name}".endswith(first) for name in checkpoint.tensors
        )

    def own_names(self, checkpoint: TensorSource) -> Mapping[str, str] | None:
        """The project's names of tensors that are called as for transformers.

        Raises MalformedError where two tensors come to one name.
        """
        if not rwkv_of_transformers.has_its_names(checkpoint.tensors):
            return None
        names: dict[str, str] = {}
        for name in checkpoint.tensors:
            other = names.setdefault(rwkv_of_transformers.project_name(name), name)
            if other != name:
                message = f"{checkpoint.model_id}: {other} and {name} are the same parameter"
                raise MalformedError(message, hint="another copy of the file")
        return names

    def block_prefixes(self, checkpoint: TensorSource) -> tuple[str, ...]:  # noqa: ARG002
        """How the names of its blocks' tensors begin, before the block's number."""
        return (_BLOCKS,)

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """One per block. Raises MalformedError where shapes fit no version of RWKV."""
        count = numbered_layers(checkpoint, _BLOCKS)
        return tuple(_layer(checkpoint, index) for index in range(count))

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:  # noqa: ARG002
        """Raises UnsupportedError: transformers reads none of these files."""
        message = (
            f"{checkpoint.model_id} is a state dict of the RWKV project and cannot be run here"
        )
        hint = f"{given(mode='weights')}; the plugin spectrakit-rwkv runs it"
        raise UnsupportedError(message, hint=hint)


def _path(index: int) -> str:
    return f"{_BLOCKS}{index}.att"


def _layer(checkpoint: TensorSource, index: int) -> Layer:
    path = _path(index)
    if f"{path}.time_aaaaa" in checkpoint.tensors:
        # With the names of RWKV-6, but other equations.
        return Layer(index, path, RWKV7.name, reason=_PREVIEW)
    mixer, role, name = time_mixing(checkpoint, path)
    layer = Layer(index, path, mixer.name, mixer, {role: f"{path}.{name}"}, runs=False)
    check_parameters(checkpoint, layer)
    return layer


def time_mixing(checkpoint: TensorSource, path: str) -> tuple[Mixer, str, str]:
    """The time mixing in the module `path`, the role of the parameter that A needs, and its name.

    Raises MalformedError where its shapes fit no version of RWKV.
    """
    prefix = f"{path}." if path else ""
    if f"{prefix}w0" in checkpoint.tensors:
        return RWKV7(*shape_of(checkpoint, f"{prefix}r_k", axes=2)), "decay_bias", "w0"
    return _mixer_before_7(checkpoint, prefix), "time_decay", "time_decay"


def _mixer_before_7(checkpoint: TensorSource, prefix: str) -> Mixer:
    decay = shape_of(checkpoint, f"{prefix}time_decay")
    if f"{prefix}ln_x.weight" not in checkpoint.tensors:
        return RWKV4(*decay[-1:])
    (channels,) = shape_of(checkpoint, f"{prefix}ln_x.weight", axes=1)
    if f"{prefix}time_decay_w1" in checkpoint.tensors:
        heads, width = shape_of(checkpoint, f"{prefix}time_faaaa", axes=2)
        return RWKV6(heads, width)
    heads = decay[0]
    if heads == 0 or channels % heads:
        message = f"{prefix}time_decay: {channels} channels do not make {heads} heads"
        raise MalformedError(message, hint="another copy of the file")
    return RWKV5(heads, channels // heads, shared=len(decay) == 1)


def shape_of(checkpoint: TensorSource, name: str, axes: int | None = None) -> tuple[int, ...]:
    """The shape of a tensor. Raises MalformedError where there is none, or not of so many axes."""
    entry = checkpoint.tensors.get(name)
    if entry is None or not entry.shape or (axes is not None and len(entry.shape) != axes):
        found = "is missing" if entry is None else f"has shape {list(entry.shape)}"
        message = f"{name} {found}, which no version of RWKV has"
        raise MalformedError(message, hint=f"spectrakit inspect {checkpoint.model_id}")
    return entry.shape
