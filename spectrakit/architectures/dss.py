"""DSS layers of ag1988/dss.

    X.D (d, H), X.kernel.log_dt (H,) or (H, 2), X.kernel.W (c, H, N, 2), and by version
    softmax, clip     X.kernel.Lambda (N, 2)
    exp               X.kernel.Lambda_log_neg_re (N,), X.kernel.Lambda_im (N,)
    exp-re-im         X.kernel.Lambda_log_neg_re (N,), X.kernel.Lambda_log_im (N,)

H channels, N states, c outputs. Which of the versions that share their names it is, is asked for
where the config does not say (`version`), and the bound of the clip versions (`max_real_Lambda`).
The softmax version has no fixed B: its spectrum is read, and with `l_max`, the length of its
kernel, in the config its recurrence can be run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.options import LONGEST, Option, kernel_length, require
from spectrakit.architectures.static_ssm import Found, Module, StaticSSM, check_shape, sizes
from spectrakit.mixers import DSS

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorSource
    from spectrakit.mixers.dss import DSSVersion

CARTESIAN_VERSION = Option("version", ("softmax", "clip", "clip-no-scale"))
EXPONENTIAL_VERSION = Option("version", ("exp", "exp-no-scale"))
LARGEST_REAL = Option("max_real_Lambda", (float,))


class DiagonalStateSpaces(StaticSSM):
    """State dicts with layers of DSS."""

    name: ClassVar[str] = "dss"
    options: ClassVar[tuple[Option, ...]] = (CARTESIAN_VERSION, LARGEST_REAL, LONGEST)

    def is_layer(self, module: Module) -> bool:
        """By the kernel's parameters."""
        return module.has("log_dt", "W") and (
            module.has("Lambda")
            or module.has("Lambda_log_neg_re", "Lambda_im")
            or module.has("Lambda_log_neg_re", "Lambda_log_im")
        )

    def read(self, checkpoint: TensorSource, module: Module, parent: Module) -> Found:
        """The layer in `module`. Raises what `StaticSSM.read` does."""
        outputs, channels, states, _ = sizes(module.tensors["W"], 4)
        check_shape(module.tensors["log_dt"], (channels,), (channels, 2))
        version = _version(checkpoint, module)
        clipped = version.startswith("clip")
        if clipped:
            require(checkpoint, (LARGEST_REAL,))
        has_feedthrough = "D" in parent.tensors
        mixer = DSS(
            channels,
            states,
            version,
            outputs=outputs,
            feedthroughs=sizes(parent.tensors["D"], 2)[0] if has_feedthrough else 0,
            separate_steps=len(module.tensors["log_dt"].shape) == 2,
            largest_real=LARGEST_REAL.value(checkpoint) if clipped else None,
            kernel_length=kernel_length(checkpoint),
        )
        tensors = {role: module.tensors[role] for role in mixer.shapes() if role != "D"}
        if has_feedthrough:
            tensors["D"] = parent.tensors["D"]
        note = None if outputs == 1 else f"{outputs} outputs per channel share A; W is not used"
        return Found(mixer, tensors, note)


def _version(checkpoint: TensorSource, module: Module) -> DSSVersion:
    if module.has("Lambda_log_im"):
        return "exp-re-im"
    option = CARTESIAN_VERSION if module.has("Lambda") else EXPONENTIAL_VERSION
    require(checkpoint, (option,))
    version: DSSVersion = option.value(checkpoint)
    return version
