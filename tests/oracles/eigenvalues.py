"""Eigenvalues from the parameters that checkpoints store, in weights mode, by the equations alone.

Mamba      exp(-softplus(dt_bias) exp(A_log))            nominal; A = -exp(A_log)
Mamba-2    the same of every head, P N times
S4D        exp(dt A), A = -exp(log_A_real) +- i A_imag   (Gu et al. 2022, arXiv 2206.11893)
S4         (1 + dt/2 mu) / (1 - dt/2 mu), mu eigenvalues of diag(L, L*) - [P, P*] [P, P*]^*
           (Gu, Goel & Re 2022, arXiv 2111.00396)
LRU        exp(-exp(nu_log) + i exp(theta_log))          (Orvieto et al. 2023, arXiv 2303.06349)
"""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
import numpy as np

from tests.oracles.forward import softplus


@dataclass(frozen=True)
class Eigenvalues:
    """Of one layer: heads or channels (H), distinct eigenvalues of each (K).

    values: lambda (H, K), complex. rate: -log|lambda| (H, K), with its digits near 1. continuous:
    eigenvalues of A (H, K), or None. multiplicity: how often each occurs. axis: "head", "channel".
    states: whether every state has an eigenvalue of its own. exact: whether they are a closed form.
    """

    values: np.ndarray
    rate: np.ndarray
    continuous: np.ndarray | None
    mode: str
    axis: str
    multiplicity: int = 1
    states: bool = True
    exact: bool = True

    @property
    def degrees(self):
        """The argument in (-180, 180], (H, K)."""
        return np.degrees(np.angle(self.values))


def of_bundled(model, layer):
    """Of a layer of a bundled Mamba or Mamba-2."""
    at = f"backbone.layers.{layer}.mixer"
    rate = np.exp(model[f"{at}.A_log"])
    if model.config["model_type"] == "mamba":
        step = softplus(model[f"{at}.dt_proj.bias"])[:, None]
        return Eigenvalues(np.exp(-step * rate), step * rate, -rate, "nominal", "channel")
    step, rate = softplus(model[f"{at}.dt_bias"])[:, None], rate[:, None]
    copies = model.config["head_dim"] * model.config["state_size"]
    values = np.exp(-step * rate)
    return Eigenvalues(values, step * rate, -rate, "nominal", "head", copies, states=False)


def of_minimal_s4d(tensors, at):
    """Of a layer of the minimal S4D: the stored half, then its conjugates."""
    a = -np.exp(tensors[f"{at}kernel.log_A_real"]) + 1j * tensors[f"{at}kernel.A_imag"]
    a = np.concatenate([a, a.conj()], -1)
    step = np.exp(tensors[f"{at}kernel.log_dt"])[:, None]
    return Eigenvalues(np.exp(step * a), -step * a.real, a, "static", "channel")


def of_lru(tensors, at):
    """Of an LRU layer."""
    decay, phase = np.exp(tensors[f"{at}nu_log"]), np.exp(tensors[f"{at}theta_log"])
    return Eigenvalues(
        np.exp(-decay + 1j * phase)[None], decay[None], None, "static", "head", states=True
    )


def of_s4(tensors, at, digits=40):
    """Of an S4 layer (version 4 of its file), with mpmath: rounded once, at the end."""
    l_half = -np.exp(tensors[f"{at}kernel.A_real"]) - 1j * tensors[f"{at}kernel.A_imag"]
    p_half = tensors[f"{at}kernel.P"][0] @ np.array([1, 1j])
    step = np.exp(tensors[f"{at}kernel.inv_dt"])[:, 0]
    values, rates, continuous = [], [], []
    with mpmath.workdps(digits):
        for channel, dt in enumerate(step):
            system = channel % len(l_half)
            mu = _s4_poles(l_half[system], p_half[system])
            z = [mpmath.mpf(float(dt)) / 2 * m for m in mu]
            found = [(1 + w) / (1 - w) for w in z]
            values.append([complex(v) for v in found])
            rates.append([float(-mpmath.log(abs(v))) for v in found])
            continuous.append([complex(m) for m in mu])
    parts = (np.array(part) for part in (values, rates, continuous))
    return Eigenvalues(*parts, "static", "channel", exact=False)


def _s4_poles(l_half, p_half):
    """Eigenvalues of diag(L, L*) - [P, P*] [P, P*]^*."""
    poles = [mpmath.mpc(v) for v in [*l_half, *l_half.conj()]]
    low = [mpmath.mpc(v) for v in [*p_half, *p_half.conj()]]
    size = len(poles)
    a = mpmath.matrix(size)
    for i in range(size):
        for j in range(size):
            a[i, j] = (poles[i] if i == j else 0) - low[i] * mpmath.conj(low[j])
    found = mpmath.eig(a, left=False, right=False)
    # The matrix is real in another basis: what is left of an imaginary part is rounding.
    return [m.real if abs(m.imag) < mpmath.mpf(10) ** -30 else m for m in found]
