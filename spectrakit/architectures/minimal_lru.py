"""LRU layers of minimal-LRU, whose parameters are JAX's, and of the package lru-pytorch.

    X.nu_log, X.theta_log, X.gamma_log (N,), X.B_re, X.B_im (N, Q), X.C_re, X.C_im (Q, N), X.D (Q,)

N states, Q model width. The parameter tree has to be flattened, its keys joined by dots or slashes,
into a safetensors or torch file. There are no options. discretax has the same parameters;
lru-pytorch has complex X.B (N, Q) and X.C (R, N), and a matrix X.D (R, Q), R output width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from spectrakit.architectures.static_ssm import Found, Module, StaticSSM, sizes
from spectrakit.mixers import LRU
from spectrakit.mixers.packed_complex import PackedLRU

if TYPE_CHECKING:
    from spectrakit.checkpoints import TensorSource


class MinimalLRU(StaticSSM):
    """State dicts with layers of the LRU."""

    name: ClassVar[str] = "minimal-lru"

    def is_layer(self, module: Module) -> bool:
        """By the parameters of the layer."""
        return module.has(*LRU.weights_roles) or module.has(*PackedLRU.weights_roles)

    def read(self, checkpoint: TensorSource, module: Module, parent: Module) -> Found:  # noqa: ARG002
        """The layer in `module`. Raises MalformedError where its shapes do not fit each other."""
        if not module.has(*LRU.weights_roles):
            return _packed(module)
        states, width = sizes(module.tensors["B_re"], 2)
        mixer = LRU(width, states)
        return Found(mixer, {role: module.tensors[role] for role in mixer.shapes()})


def _packed(module: Module) -> Found:
    """A layer of lru-pytorch."""
    states, width = sizes(module.tensors["B"], 2)
    mixer = PackedLRU(width, states, output_width=sizes(module.tensors["C"], 2)[0])
    tensors = {role: module.tensors[role] for role in mixer.shapes()}
    return Found(mixer, tensors, "D, a matrix, is no part of its recurrence")
