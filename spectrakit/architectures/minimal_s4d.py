"""The minimal S4D file (`s4d.py` of state-spaces/s4), which many projects copied.

    X.D (H,), X.kernel.log_dt (H,), X.kernel.log_A_real and X.kernel.A_imag (H, M),
    X.kernel.C (H, M, 2)

H channels, M stored states. A = -exp(log_A_real) + i A_imag, B = 1, zero-order hold: the file has
no options, so these checkpoints need no config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.static_ssm import Found, Module, StaticSSM, check_shape, sizes
from spectrakit.mixers import S4D
from spectrakit.mixers.s4_parameters import S4Parameters

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorSource

_NAMES = {"A_real": "log_A_real", "A_imag": "A_imag", "step": "log_dt", "C": "C"}


class MinimalS4D(StaticSSM):
    """State dicts with layers of the minimal S4D."""

    name: ClassVar[str] = "minimal-s4d"

    def is_layer(self, module: Module) -> bool:
        """By the kernel's parameters; a B besides would be another S4D."""
        return module.has(*_NAMES.values()) and not module.has("B")

    def read(self, checkpoint: TensorSource, module: Module, parent: Module) -> Found:  # noqa: ARG002
        """The layer in `module`. Raises MalformedError where its shapes do not fit each other."""
        tensors = {role: module.tensors[name] for role, name in _NAMES.items()}
        if "D" in parent.tensors:
            tensors["D"] = parent.tensors["D"]
        channels, states = sizes(tensors["A_real"], 2)
        allowed = {"A_imag": (channels, states), "C": (channels, states, 2)}
        for role, entry in tensors.items():
            if role != "A_real":
                check_shape(entry, allowed.get(role, (channels,)))
        shapes = {role: entry.shape for role, entry in tensors.items()}
        return Found(S4D(S4Parameters(shapes, sign=1), "zoh"), tensors)
