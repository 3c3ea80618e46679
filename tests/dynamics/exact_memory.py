"""Memory functions in many digits, straight from their definition."""

from __future__ import annotations

import math

import mpmath as mp
import torch

from spectrakit.dynamics import DiscreteEigenvalues


def eigenvalues(log_modulus, phase=None):
    """Of one system."""
    log_modulus = torch.as_tensor(log_modulus, dtype=torch.float64).view(1, -1)
    phase = None if phase is None else torch.as_tensor(phase, dtype=torch.float64).view(1, -1)
    return DiscreteEigenvalues(log_modulus, phase)


def numbers(poles):
    """The poles of the first system that count, as numbers of the working precision."""
    counts = poles.counts[0]
    log = poles.log_modulus[0][counts].tolist()
    phase = [0.0] * len(log) if poles.phase is None else poles.phase[0][counts].tolist()
    # float64 has no pi; a phase that is its pi means a negative number.
    turn = {0.0: mp.mpf(1), math.pi: mp.mpf(-1)}
    return [
        mp.exp(mp.mpf(one)) * (turn[angle] if angle in turn else mp.expj(mp.mpf(angle)))
        for one, angle in zip(log, phase, strict=True)
    ]


def by_gramian(poles, delays, digits, past=None):
    """v^H G^{-1} v with v = lambda^tau and the Gramian G, over an infinite past or a finite one."""
    with mp.workdps(digits):
        values = numbers(poles)
        gramian = mp.matrix(len(values))
        for i, one in enumerate(values):
            for j, other in enumerate(values):
                gramian[i, j] = _geometric(one * mp.conj(other), past)
        factor = mp.mp.LU_decomp(gramian)
        found = []
        for tau in delays:
            column = mp.matrix([value**tau for value in values])
            solved = mp.mp.U_solve(factor[0], mp.mp.L_solve(factor[0], column, factor[1]))
            found.append(float(mp.re((column.H * solved)[0])))
    return found


def _geometric(ratio, terms):
    if terms is None:
        return 1 / (1 - ratio)
    if abs(ratio - 1) < mp.mpf(10) ** (-mp.mp.dps // 2):
        return mp.mpf(terms)
    return (1 - ratio**terms) / (1 - ratio)


def by_cauchy(poles, delays, digits):
    """The same for many poles: the Gramian is a Cauchy matrix, and its factor a product."""
    with mp.workdps(digits):
        values = numbers(poles)
        weight = [mp.sqrt(1 - abs(value) ** 2) for value in values]
        factor = []
        for i, one in enumerate(values):
            row, reaching = [], mp.mpf(1)
            for k, other in enumerate(values[: i + 1]):
                below = 1 - mp.conj(other) * one
                row.append(weight[i] * weight[k] / below * reaching)
                reaching *= (one - other) / below
            factor.append(row)
        found = []
        for tau in delays:
            state = []
            for i, value in enumerate(values):
                rest = mp.fdot(zip(factor[i], state, strict=False))
                state.append((weight[i] * value**tau - rest) / factor[i][i])
            found.append(float(sum(abs(part) ** 2 for part in state)))
    return found
