"""S5 layers of lindermanlab/S5, whose parameters are JAX's.

    X.Lambda_re, X.Lambda_im (P,), X.log_step (P, 1), X.B (P, Q, 2), X.D (Q,), and
    X.C (Q, P, 2), or in two directions X.C (Q, 2 P, 2), or X.C1 and X.C2

P stored states, Q model width. The parameter tree has to be flattened, its keys joined by dots or
slashes, into a safetensors or torch file. How it is discretised (`discretization`), whether
conjugates stand beside the stored states (`conj_sym`) and whether eigenvalues are clipped
(`clip_eigs`) is asked for where the config does not say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.options import Option, require
from spectrakit.architectures.static_ssm import Found, Module, StaticSSM, check_shape, sizes
from spectrakit.mixers import S5

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorSource

DISCRETISATION = Option("discretization", ("zoh", "bilinear"))
CONJUGATE_SYMMETRY = Option("conj_sym", (True, False))
CLIPPED = Option("clip_eigs", (False, True))


class SimplifiedS5(StaticSSM):
    """State dicts with layers of S5."""

    name: ClassVar[str] = "s5"
    options: ClassVar[tuple[Option, ...]] = (DISCRETISATION, CONJUGATE_SYMMETRY, CLIPPED)

    def is_layer(self, module: Module) -> bool:
        """By the parameters of one or of two directions."""
        return module.has("Lambda_re", "Lambda_im", "log_step", "B", "D") and (
            module.has("C") or module.has("C1", "C2")
        )

    def read(self, checkpoint: TensorSource, module: Module, parent: Module) -> Found:  # noqa: ARG002
        """The layer in `module`. Raises what `StaticSSM.read` does."""
        states, width, _ = sizes(module.tensors["B"], 3)
        one, two = (width, states, 2), (width, 2 * states, 2)
        if module.has("C"):
            check_shape(module.tensors["C"], one, two)
        require(checkpoint, (DISCRETISATION, CONJUGATE_SYMMETRY, CLIPPED))
        mixer = S5(
            width,
            states,
            DISCRETISATION.value(checkpoint),
            conjugate_symmetry=CONJUGATE_SYMMETRY.value(checkpoint),
            clipped=CLIPPED.value(checkpoint),
            bidirectional=not module.has("C") or module.tensors["C"].shape == two,
        )
        tensors = {role: module.tensors[role] for role in mixer.shapes()}
        note = "bidirectional: both directions have this A; C is not used"
        return Found(mixer, tensors, note if mixer.bidirectional else None)
