"""S5 layers of lindermanlab/S5, whose parameters are JAX's, and of the package s5-pytorch.

    X.Lambda_re, X.Lambda_im (P,), X.log_step (P, 1), X.B (P, Q, 2), X.D (Q,), and
    X.C (Q, P, 2), or in two directions X.C (Q, 2 P, 2), or X.C1 and X.C2

P stored states, Q model width. The parameter tree has to be flattened, its keys joined by dots or
slashes, into a safetensors or torch file. How it is discretised (`discretization`), whether
conjugates stand beside the stored states (`conj_sym`) and whether eigenvalues are clipped
(`clip_eigs`) is asked for where the config does not say. discretax has the same parameters.

s5-pytorch has complex parameters, X.Lambda (P,) and X.C (Q, P) (in two directions (Q, 2 P)), with
X.B (P, Q, 2), X.D (Q,) and X.log_step (P,). It stores every state and clips nothing, and its class
S5 discretises by zero-order hold: a config may say otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.options import Option, require
from spectrakit.architectures.static_ssm import Found, Module, StaticSSM, check_shape, sizes
from spectrakit.mixers import S5
from spectrakit.mixers.packed_complex import PackedS5

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorSource

DISCRETISATION = Option("discretization", ("zoh", "bilinear"))
CONJUGATE_SYMMETRY = Option("conj_sym", (True, False))
CLIPPED = Option("clip_eigs", (False, True))
_PACKED = ("Lambda", "log_step", "B", "C", "D")
_BOTH_WAYS = "bidirectional: both directions have this A; C is not used"


class SimplifiedS5(StaticSSM):
    """State dicts with layers of S5."""

    name: ClassVar[str] = "s5"
    options: ClassVar[tuple[Option, ...]] = (DISCRETISATION, CONJUGATE_SYMMETRY, CLIPPED)

    def is_layer(self, module: Module) -> bool:
        """By the parameters of one or of two directions, or of s5-pytorch's."""
        if module.has(*_PACKED):
            return True
        return module.has("Lambda_re", "Lambda_im", "log_step", "B", "D") and (
            module.has("C") or module.has("C1", "C2")
        )

    def read(self, checkpoint: TensorSource, module: Module, parent: Module) -> Found:  # noqa: ARG002
        """The layer in `module`. Raises what `StaticSSM.read` does."""
        if module.has(*_PACKED):
            return _packed(checkpoint, module)
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
        return Found(mixer, tensors, _BOTH_WAYS if mixer.bidirectional else None)


def _packed(checkpoint: TensorSource, module: Module) -> Found:
    """A layer of s5-pytorch."""
    states, width, _ = sizes(module.tensors["B"], 3)
    one, two = (width, states), (width, 2 * states)
    check_shape(module.tensors["C"], one, two)
    told = DISCRETISATION.key in checkpoint.config
    mixer = PackedS5(
        width,
        states,
        DISCRETISATION.value(checkpoint) if told else "zoh",
        conjugate_symmetry=False,
        clipped=False,
        bidirectional=module.tensors["C"].shape == two,
        step_shape=module.tensors["log_step"].shape,
    )
    notes = [_BOTH_WAYS] if mixer.bidirectional else []
    if not told:
        notes.append("discretization is not in the weights: taken as zoh, that of s5-pytorch")
    tensors = {role: module.tensors[role] for role in mixer.shapes()}
    return Found(mixer, tensors, "; ".join(notes) or None)
