"""S4 and S4D layers of state-spaces/s4, in the parameter names of its versions 2, 3 and 4.

    version 4   inv_dt (H, 1) or (H, M), A_real, A_imag (S, M), B (1, S, M, 2), C (c, H, M, 2)
                S4 besides: P (r, S, M, 2) and the buffer l_kernel; a real S4D: no A_imag, no pairs
    version 3   log_dt (H,), and of S4: inv_w_real, w_imag, B, C, P and the buffer L
                             of S4D: inv_A_real, A_imag, B (S, M, 2), C
    version 2   as version 3, with log_w_real and without the length

H channels, M stored states, S systems (`n_ssm`), c outputs, r rank. D (c, H) lies in the module
around the kernel. Im A is -A_imag in version 4 and +A_imag or +w_imag before. Transforms,
discretisation and band limit are options of the training config that the weights do not show; they
are read from the config under the names they have there, and asked for where it lacks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.options import LONGEST, Option, kernel_length, require
from spectrakit.architectures.static_ssm import (
    Found,
    Module,
    StaticSSM,
    check_shape,
    sizes,
)
from spectrakit.errors import MalformedError, UnsupportedError
from spectrakit.mixers import S4, S4D
from spectrakit.mixers.s4_parameters import S4Parameters, Transform

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorEntry, TensorSource

_TRANSFORMS = ("exp", "none", "relu", "sigmoid", "softplus")
DISCRETISATION = Option("disc", ("zoh", "bilinear", "dss"))
REAL_TRANSFORM = Option("real_transform", _TRANSFORMS)
IMAGINARY_TRANSFORM = Option("imag_transform", ("none", "exp", "relu", "sigmoid", "softplus"))
STEP_TRANSFORM = Option("dt_transform", _TRANSFORMS)
SINH_STEP = Option("dt_fast", (False, True))
BANDLIMIT = Option("bandlimit", (None, float))
REAL_TYPE = Option("real_type", _TRANSFORMS)
KERNEL_LENGTH = Option("l_kernel", (int,))


class StateSpacesS4(StaticSSM):
    """S4 (with P) and S4D (without) of state-spaces/s4; one model may hold both."""

    name: ClassVar[str] = "state-spaces-s4"
    options: ClassVar[tuple[Option, ...]] = (
        DISCRETISATION,
        REAL_TRANSFORM,
        IMAGINARY_TRANSFORM,
        STEP_TRANSFORM,
        SINH_STEP,
        BANDLIMIT,
        REAL_TYPE,
        KERNEL_LENGTH,
        LONGEST,
    )

    def is_layer(self, module: Module) -> bool:
        """By the parameters of one of the versions."""
        return _is_version_4(module) or _is_earlier(module)

    def read(self, checkpoint: TensorSource, module: Module, parent: Module) -> Found:
        """The layer in `module`.

        Raises what `StaticSSM.read` does, and UnsupportedError for an S4 of real systems.
        """
        tensors = _by_role(module, parent)
        if "P" in tensors and "A_imag" not in tensors:
            message = f"{module.path} is an S4 layer of a real system, which is not read here"
            raise UnsupportedError(message)
        _check_shapes(tensors)
        shapes = {role: entry.shape for role, entry in tensors.items() if role != "kernel_length"}
        if _is_version_4(module):
            parameters = _version_4(checkpoint, shapes)
        else:
            parameters = _earlier(checkpoint, module, shapes)
        mixer = _mixer(checkpoint, parameters, tensors)
        return Found(mixer, tensors, _note(parameters, tensors))


def _is_version_4(module: Module) -> bool:
    return module.has("inv_dt", "A_real", "B", "C")


def _is_earlier(module: Module) -> bool:
    if module.has("log_dt", "B", "C", "inv_A_real", "A_imag"):
        return True
    return module.has("log_dt", "B", "C", "P", "w_imag") and (
        module.has("inv_w_real") or module.has("log_w_real")
    )


#: Names of the roles, over all versions.
_NAMES = {
    "A_real": ("A_real", "inv_A_real", "inv_w_real", "log_w_real"),
    "A_imag": ("A_imag", "w_imag"),
    "step": ("inv_dt", "log_dt"),
    "B": ("B",),
    "C": ("C",),
    "P": ("P",),
    "kernel_length": ("l_kernel", "L"),
}


def _by_role(module: Module, parent: Module) -> Mapping[str, TensorEntry]:
    found = {
        role: module.tensors[name]
        for role, names in _NAMES.items()
        for name in names
        if name in module.tensors
    }
    if "P" not in found:
        found.pop("kernel_length", None)
    if "D" in parent.tensors:
        found["D"] = parent.tensors["D"]
    return found


def _check_shapes(tensors: Mapping[str, TensorEntry]) -> None:
    """Raise MalformedError where the layer's tensors do not fit each other."""
    systems, states = sizes(tensors["A_real"], 2)
    pair = (2,) if "A_imag" in tensors else ()
    outputs, channels, *_ = sizes(tensors["C"], 3 + len(pair))
    if channels % systems:
        message = f"{tensors['C'].name} has {channels} channels, its A has {systems} systems"
        raise MalformedError(message, hint="another copy of the file")
    rank = sizes(tensors["P"], 4)[0] if "P" in tensors else 0
    # S4's bilinear rule takes one step for all states of a channel.
    step_axis = 1 if rank else states
    allowed: dict[str, list[tuple[int, ...]]] = {
        "A_imag": [(systems, states)],
        "step": [(channels,), (channels, 1), (channels, step_axis)],
        "B": [(1, systems, states, *pair), (systems, states, *pair)],
        "C": [(outputs, channels, states, *pair)],
        "P": [(rank, systems, states, *pair)],
        "D": [(outputs, channels), (max(1, outputs // 2), channels)],
        "kernel_length": [()],
    }
    for role, entry in tensors.items():
        if role in allowed:
            check_shape(entry, *allowed[role])


def _version_4(source: TensorSource, shapes: Mapping[str, tuple[int, ...]]) -> S4Parameters:
    imaginary = (IMAGINARY_TRANSFORM,) if "A_imag" in shapes else ()
    asked = (REAL_TRANSFORM, *imaginary, STEP_TRANSFORM, SINH_STEP, BANDLIMIT)
    require(source, asked if "P" in shapes else (DISCRETISATION, *asked))
    return S4Parameters(
        shapes,
        real_transform=_offset(REAL_TRANSFORM.value(source)),
        imaginary_transform=_offset(IMAGINARY_TRANSFORM.value(source)) if imaginary else "none",
        sign=-1,
        step_transform=_offset(STEP_TRANSFORM.value(source)),
        sinh_step=SINH_STEP.value(source),
        bandlimit=BANDLIMIT.value(source),
    )


def _earlier(
    source: TensorSource, module: Module, shapes: Mapping[str, tuple[int, ...]]
) -> S4Parameters:
    if module.has("log_w_real"):
        return S4Parameters(shapes, real_transform="exp", sign=1)
    require(
        source, (REAL_TYPE, BANDLIMIT) if "P" in shapes else (DISCRETISATION, REAL_TYPE, BANDLIMIT)
    )
    real = REAL_TYPE.value(source)
    return S4Parameters(
        shapes,
        # Version 3 has S4's relu plain, and S4D's with the offset that both have in version 4.
        real_transform=real if "P" in shapes else _offset(real),
        sign=1,
        bandlimit=BANDLIMIT.value(source),
    )


def _offset(transform: Transform) -> Transform:
    return "offset_relu" if transform == "relu" else transform


def _mixer(
    source: TensorSource, parameters: S4Parameters, tensors: Mapping[str, TensorEntry]
) -> S4 | S4D:
    if "P" not in tensors:
        return S4D(parameters, DISCRETISATION.value(source), kernel_length(source))
    if "kernel_length" in tensors:
        return S4(parameters)
    require(source, (KERNEL_LENGTH,))
    return S4(parameters, kernel_length=KERNEL_LENGTH.value(source))


def _note(parameters: S4Parameters, tensors: Mapping[str, TensorEntry]) -> str | None:
    """Why a layer of several outputs has a spectrum and no output map."""
    if parameters.outputs == 1:
        return None
    if "D" in tensors and 2 * tensors["D"].shape[0] == parameters.outputs:
        return "bidirectional: both directions have this A; C is not used"
    return f"{parameters.outputs} outputs per channel, which share A; C is not used"
