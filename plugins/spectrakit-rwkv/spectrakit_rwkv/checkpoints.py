"""RWKV's own files: which version they are of, and the sizes of their time mixings, from headers.

spectrakit's own `rwkv-files` tells the versions apart and reads the decays, which is all that
weights mode needs; here every parameter of a layer is found, so that it can be run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from spectrakit.architectures.base import check_parameters
from spectrakit.architectures.rwkv_files import RWKVFiles, shape_of
from spectrakit.errors import UnsupportedError
from spectrakit.mixers import RWKV4, RWKV5, RWKV6, RWKV7
from spectrakit.mixers.rwkv7_layer import RWKV7Layer
from spectrakit.wording import given
from spectrakit_rwkv import names
from spectrakit_rwkv.time_mixing4 import TimeMixing4
from spectrakit_rwkv.time_mixing5 import TimeMixing5
from spectrakit_rwkv.time_mixing6 import TimeMixing6

if TYPE_CHECKING:
    from spectrakit.architectures.base import Layer, RunnableModel
    from spectrakit.architectures.initial_weights import Initial
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers import Mixer


class RunnableRWKVFiles(RWKVFiles):
    """The .pth files of RWKV-4 to 7, in weights and data mode."""

    override: ClassVar[bool] = True
    initial_source: ClassVar[str] = "github.com/BlinkDL/RWKV-LM"

    def layers(self, checkpoint: TensorSource) -> tuple[Layer, ...]:
        """One per block; not to be run where it lacks a parameter of its version.

        Raises MalformedError where shapes fit no version of RWKV.
        """
        return tuple(_runnable(checkpoint, layer) for layer in super().layers(checkpoint))

    def load(self, checkpoint: TensorSource, device: str, dtype: str = "float32") -> RunnableModel:
        """The model, written out.

        Raises UnsupportedError where a layer cannot be run, MalformedError where there are other
        tensors than those of the version.
        """
        from spectrakit_rwkv.model import load_rwkv_model

        layers = self.layers(checkpoint)
        for layer in layers:
            if not layer.runs or layer.mixer is None:
                message = f"{checkpoint.model_id}: layer {layer.index}: {layer.reason}"
                raise UnsupportedError(message, hint=given(mode="weights"))
        return load_rwkv_model(checkpoint, layers, device, dtype)

    def initial(self, checkpoint: TensorSource) -> Initial:
        """What the project's training code draws all weights from."""
        from spectrakit_rwkv.initial import initial

        return initial(self.layers(checkpoint))


@dataclass(frozen=True)
class _TimeMixing:
    """The tensors of one `blocks.N.att`."""

    checkpoint: TensorSource
    layer: Layer

    def has(self, name: str) -> bool:
        return f"{self.layer.path}.{name}" in self.checkpoint.tensors

    def size(self, name: str, axis: int, axes: int = 2) -> int:
        return shape_of(self.checkpoint, f"{self.layer.path}.{name}", axes)[axis]


_Names: TypeAlias = Mapping[str, str]


def _runnable(checkpoint: TensorSource, layer: Layer) -> Layer:
    """`layer`, with all of its parameters."""
    if layer.mixer is None:
        return layer
    found = _TimeMixing(checkpoint, layer)
    inside = _names(found)
    missing = sorted(name for name in inside.values() if not found.has(name))
    if missing:
        reason = f"only its decays are read: {missing[0]} is not in the file"
        return replace(layer, reason=reason)
    parameters = {role: f"{layer.path}.{name}" for role, name in inside.items()}
    mixer = _MIXERS[layer.kind](found, layer.mixer)
    layer = replace(layer, mixer=mixer, parameters=parameters, runs=True)
    check_parameters(checkpoint, layer)
    return layer


def _names(found: _TimeMixing) -> _Names:
    """Names of the parameters of the layer's version, by role."""
    kind = found.layer.kind
    if kind == RWKV4.name:
        return names.RWKV4_NAMES
    if kind == RWKV5.name:
        bonus = "time_first" if _has_log_bonus(found) else "time_faaaa"
        gate = names.GATE_NAMES if found.has("gate.weight") else {}
        return {**names.RWKV5_NAMES, "bonus": bonus, **gate}
    if kind == RWKV6.name:
        return names.RWKV6_NAMES
    # The first layer has no earlier value to go towards; files may hold unused parameters of it.
    residual = names.RESIDUAL_NAMES if found.layer.index > 0 else {}
    return {**names.RWKV7_NAMES, **residual}


def _has_log_bonus(found: _TimeMixing) -> bool:
    return found.has("time_first") and not found.has("time_faaaa")


def _rwkv4(found: _TimeMixing, mixer: Mixer) -> Mixer:
    return TimeMixing4(mixer.heads, found.size("output.weight", 0))


def _rwkv5(found: _TimeMixing, mixer: Mixer) -> Mixer:
    assert isinstance(mixer, RWKV5)  # noqa: S101  (of its kind)
    return TimeMixing5(
        mixer.heads,
        mixer.state_size,
        mixer.shared,
        model_width=found.size("output.weight", 0),
        gated=found.has("gate.weight"),
        log_bonus=_has_log_bonus(found),
    )


def _rwkv6(found: _TimeMixing, mixer: Mixer) -> Mixer:
    assert isinstance(mixer, RWKV6)  # noqa: S101  (of its kind)
    return TimeMixing6(
        mixer.heads,
        mixer.state_size,
        model_width=found.size("output.weight", 0),
        shift_rank=found.size("time_maa_w2", 1, axes=3),
        decay_rank=found.size("time_decay_w1", 1),
    )


def _rwkv7(found: _TimeMixing, mixer: Mixer) -> Mixer:
    assert isinstance(mixer, RWKV7)  # noqa: S101  (of its kind)
    return RWKV7Layer(
        mixer.heads,
        mixer.state_size,
        model_width=found.size("output.weight", 0),
        decay_rank=found.size("w1", 1),
        rate_rank=found.size("a1", 1),
        gate_rank=found.size("g1", 1),
        value_rank=found.size("v1", 1) if found.layer.index > 0 else None,
    )


_MIXERS: Mapping[str, Callable[[_TimeMixing, Mixer], Mixer]] = {
    RWKV4.name: _rwkv4,
    RWKV5.name: _rwkv5,
    RWKV6.name: _rwkv6,
    RWKV7.name: _rwkv7,
}
