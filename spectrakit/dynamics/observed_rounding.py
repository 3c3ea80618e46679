"""What is left, at a token of a sequence, of the memory of a state that is rounded as it is stored.

The noise of a rounding is that of `spectrakit.dynamics.rounded_memory`: white over tokens and
entries, of a variance that is epsilon^2 of the entry's own. It is carried on as the state is,

    C_t = A_t C_{t-1} A_t^H + B_t B_t^H                 the state's covariance under white inputs
    S_t = A_t S_{t-1} A_t^H + epsilon^2 diag(C_t)       that of the noise
    MF(t - s) = x_s^H (C_t + S_t)^{-1} x_s              x_s = Phi(t, s) B_s,  C_t = X X^H

Where A_t is diagonal, the noise of an entry stays with it, and its variance needs no matrix:

    S_ii = epsilon^2 sum_s (t - s + 1) |x_si|^2

A delta rule mixes the entries, and the noise with them. Our own choice, as the noise itself.

T tokens, H heads, n inputs of a token, N states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.rounded_memory import rounding_variance

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.dynamics.operator_parts import OneSequence
    from spectrakit.dynamics.rounded_memory import Precision
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")

#: Of the variance of the noise in a direction, over that of the entries it lies in: what is less is
#: not known in float64, and counts as so much. It takes a signal erased to nothing whose noise is
#: left, and what is written beside that is then said to be forgotten rather than known.
_FLOOR = 1e-13


class CarriedNoise(NamedTuple):
    """exp(log_size) covariance is S_t / epsilon^2: (H, N, N), and (H,)."""

    covariance: Tensor
    log_size: Tensor


def carried_noise(operator: OneSequence, vectors: Tensor, log_scale: Tensor) -> CarriedNoise:
    """Of an operator with leading axes (1, T), written along exp(log_scale_s) vectors_s.

    vectors: (T, H, n, N). log_scale: (T, H).
    """
    tokens, heads, _, states = vectors.shape
    zeros = torch.zeros(heads, states, states, dtype=vectors.dtype, device=vectors.device)
    covariance, noise = zeros, zeros
    size = torch.full_like(log_scale[0], -torch.inf)
    for s in range(tokens):
        both = torch.cat([covariance, noise], -1)
        # A C A^H = A (A C)^H, of both at once.
        halves = operator.at(s).apply(both.unsqueeze(0))[0].split(states, -1)
        halves = operator.at(s).apply(torch.cat([half.mH for half in halves], -1).unsqueeze(0))[0]
        covariance, noise = halves.split(states, -1)
        larger = torch.maximum(size, 2 * log_scale[s]).nan_to_num(neginf=0.0)
        kept, added = ((each - larger).exp()[:, None, None] for each in (size, 2 * log_scale[s]))
        covariance = kept * covariance + added * (vectors[s].mT @ vectors[s].conj())
        noise = kept * noise + torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
        largest = noise.abs().amax((-2, -1))
        scale = torch.where(largest > 0, largest, 1)
        covariance, noise = (each / scale[:, None, None] for each in (covariance, noise))
        size = larger + scale.log()
    return CarriedNoise(noise, size)


def whitened_by_itself(rows: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """x_s^H S^{-1/2} where A is diagonal, S without its epsilon^2: (T n, N).

    rows: (T, n, N), x_s^H of each input of a token, to be multiplied with exp(log_scale_s), (T,).
    """
    tokens, _, states = rows.shape
    largest = log_scale.max()
    columns = rows * np.exp(log_scale - (largest if largest > -np.inf else 0))[:, None, None]
    age = np.arange(tokens, 0, -1)
    noise = np.sqrt((age[:, None, None] * np.abs(columns) ** 2).sum((0, 1)))
    whitened: np.ndarray = (columns / np.where(noise > 0, noise, 1)).reshape(-1, states)
    return whitened


def whitened_by(
    covariance: np.ndarray, log_size: float, rows: np.ndarray, log_scale: np.ndarray
) -> np.ndarray:
    """The same where S is exp(log_size) covariance, (N, N)."""
    columns = rows * np.exp(log_scale - log_size / 2)[:, None, None]
    deviation = np.sqrt(np.diagonal(covariance).real)
    deviation = np.where(deviation > 0, deviation, 1)
    # Of unit diagonal: entries may differ in size by any factor, and one that is never written has
    # no noise.
    correlation = covariance / np.outer(deviation, deviation)
    np.fill_diagonal(correlation, 1)
    noise, axes = np.linalg.eigh(correlation)
    columns = (columns / deviation).reshape(-1, len(deviation))
    whitened: np.ndarray = columns @ axes / np.sqrt(noise.clip(min=_FLOOR))
    return whitened


def read_through_noise(
    whitened: np.ndarray, inputs: int, precisions: Sequence[Precision]
) -> list[np.ndarray]:
    """MF of each token (T,), all its inputs together, in each precision."""
    # X = U s V^H: what is lost of a direction follows from s alone.
    _, singular, axes = np.linalg.svd(np.linalg.qr(whitened, mode="r"), full_matrices=False)
    power = np.abs(whitened @ axes.conj().T) ** 2
    return [
        (power / (singular**2 + rounding_variance(precision))).sum(1).reshape(-1, inputs).sum(1)
        for precision in precisions
    ]
