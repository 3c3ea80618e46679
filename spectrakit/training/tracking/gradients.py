"""The gradient of the loss on a layer's eigenvalues, from that on its parameters.

In coordinates of log lambda, all else in the layer fixed (the step, B, C), by the chain rule:

    S4D         log lambda = Delta (-exp(A_real) + i A_imag)      by zero-order hold
                g = (dL/dA_real / -exp(A_real) + i dL/dA_imag) / Delta
    S5          log lambda = Delta (Lambda_re + i Lambda_im)      by zero-order hold
                g = (dL/dLambda_re + i dL/dLambda_im) / Delta
    LRU         log lambda = -exp(nu_log) + i exp(theta_log)
                g = dL/dnu_log / -exp(nu_log) + i dL/dtheta_log / exp(theta_log)
    pseudo-LTI  log lambda = -softplus(A)
                g = dL/dA / -sigmoid(A)
    dense       A = V diag(lambda) V^-1
                g_i = lambda_i (V^-1 (dL/dA)^T V)_ii
    Mamba(-2)   log r = A_log + log Delta, the rate r = -log lambda at its bias
                g = dL/dA_log, on log r

|g| is how fast the loss changes, at most, with log lambda. Of a pair of conjugates one is counted,
which moves both. A layer whose eigenvalues come from its parameters in another way has no such
numbers, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spectrakit.mixers import LRU, S4D, S5, Mamba, Mamba2
from spectrakit.mixers.dense import DenseRecurrence
from spectrakit.mixers.pseudo_lti import PseudoLTIMamba2

if TYPE_CHECKING:
    from spectrakit.mixers import Parameters


@dataclass(frozen=True)
class EigenvalueGradients:
    """For each eigenvalue, or each of a pair: -log|lambda| and |g|; (H, K), float64."""

    decay_rate: Tensor
    size: Tensor

    def norms(self) -> Tensor:
        """The norm of each head's: (H,)."""
        return self.size.square().sum(-1).sqrt()


@dataclass(frozen=True)
class NoGradients:
    """Why a layer has none."""

    reason: str


_BILINEAR = NoGradients("the bilinear rule has no chain rule here from its parameters")


def gradients_of(
    mixer: object, p: Parameters, grads: Mapping[str, Tensor]
) -> EigenvalueGradients | NoGradients:
    """Of a layer with parameters `p` and their gradients `grads`, by role, as they are now."""
    wide = {role: value.detach().double() for role, value in p.items()}
    given = {role: value.detach().double() for role, value in grads.items()}
    try:
        return eigenvalue_gradients(mixer, wide, given)
    except KeyError:
        return NoGradients("its eigenvalues are not trained, or the loss does not depend on them")


@singledispatch
def eigenvalue_gradients(
    mixer: object,
    p: Mapping[str, Tensor],  # noqa: ARG001  (of those that have a rule)
    grads: Mapping[str, Tensor],  # noqa: ARG001
) -> EigenvalueGradients | NoGradients:
    """Register a rule for a kind of mixer; KeyError stands for a gradient that is missing."""
    kind = getattr(mixer, "name", type(mixer).__name__)
    return NoGradients(f"{kind} has no rule from its parameters to its eigenvalues")


@eigenvalue_gradients.register(S4D)
def _(
    mixer: S4D, p: Mapping[str, Tensor], grads: Mapping[str, Tensor]
) -> EigenvalueGradients | NoGradients:
    if mixer.discretisation == "bilinear":
        return _BILINEAR
    rate = p["A_real"].exp()
    step = mixer.parameters.step(p)
    real = grads["A_real"] / -rate
    imaginary = grads["A_imag"] if "A_imag" in p else torch.zeros_like(real)
    return EigenvalueGradients(step * rate, torch.hypot(real, imaginary) / step)


@eigenvalue_gradients.register(S5)
def _(
    mixer: S5, p: Mapping[str, Tensor], grads: Mapping[str, Tensor]
) -> EigenvalueGradients | NoGradients:
    if mixer.discretisation == "bilinear":
        return _BILINEAR
    step = p["log_step"].exp().flatten()
    size = torch.hypot(grads["Lambda_re"], grads["Lambda_im"]) / step
    return EigenvalueGradients((-step * mixer.generator(p).real)[None], size[None])


@eigenvalue_gradients.register(LRU)
def _(mixer: LRU, p: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> EigenvalueGradients:  # noqa: ARG001
    rate, turn = p["nu_log"].exp(), p["theta_log"].exp()
    size = torch.hypot(grads["nu_log"] / rate, grads["theta_log"] / turn)
    return EigenvalueGradients(rate[None], size[None])


@eigenvalue_gradients.register(Mamba)
def _(mixer: Mamba, p: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> EigenvalueGradients:
    rate = -mixer.from_weights(p).eigenvalues().log_modulus
    return EigenvalueGradients(rate, grads["A_log"].reshape(rate.shape).abs())


@eigenvalue_gradients.register(Mamba2)
def _(mixer: Mamba2, p: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> EigenvalueGradients:
    rate = -mixer.from_weights(p).eigenvalues().log_modulus
    return EigenvalueGradients(rate, grads["A_log"].reshape(rate.shape).abs())


@eigenvalue_gradients.register(PseudoLTIMamba2)
def _(
    mixer: PseudoLTIMamba2, p: Mapping[str, Tensor], grads: Mapping[str, Tensor]
) -> EigenvalueGradients:
    rate = -mixer.log_decay(p["A"]).unsqueeze(-1)
    return EigenvalueGradients(rate, (grads["A"] / p["A"].sigmoid()).abs().unsqueeze(-1))


@eigenvalue_gradients.register(DenseRecurrence)
def _(
    mixer: DenseRecurrence,  # noqa: ARG001
    p: Mapping[str, Tensor],
    grads: Mapping[str, Tensor],
) -> EigenvalueGradients | NoGradients:
    values, vectors = torch.linalg.eig(p["A"])
    turned = grads["A"].mT.to(vectors) @ vectors
    try:
        diagonal = torch.linalg.solve(vectors, turned).diagonal()
    except RuntimeError:
        return NoGradients("its matrix has no basis of eigenvectors")
    upper = values.imag >= 0
    size = (values * diagonal).abs()[upper]
    return EigenvalueGradients(-values.abs().log()[upper][None], size[None])
