"""The memory of the last T inputs, where there were none before: for any poles whatever.

The T delays of such a past project on the columns lambda_i^tau, tau < T, and MF(tau) is the squared
length of row tau of an orthonormal basis of them. |lambda| >= 1 has no other memory function. This
is also what a matrix of T delays evaluates (arXiv 2510.00563 with T = 1024); its sum is the rank
min(K, T) even where the true memory is longer than T.

The columns themselves are dependent to rounding wherever poles cluster or T is short, so they are
never made. As in Arnoldi's process (Brubeck, Nakatsukasa & Trefethen 2021 for polynomials), each
basis vector comes from the last one, by the filter that adds a pole to a span of exponentials,

    v = (z - mu) / (1 - lambda z) q        z delays by one, q = 0 before the past

made orthogonal to all before it, twice. A pole outside the unit circle runs backward in time. mu is
the zero of the all-pass section of q's pole: over an infinite past v is orthogonal as it comes out,
the Takenaka-Malmquist cascade.

H systems, K poles, T tokens of past.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.leverage import leverage
from spectrakit.dynamics.many_inputs import with_conjugates
from spectrakit.dynamics.memory_function import MemoryFunction, joined
from spectrakit.dynamics.poles import Poles

if TYPE_CHECKING:
    import numpy as np
    import torch
    from scipy import signal
    from torch import Tensor

    from spectrakit.dynamics.delays import Delays
    from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
    from spectrakit.dynamics.memory_function import Past
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")
    signal = lazy_import("scipy.signal")

_HORIZON: Past = "horizon"

#: Numbers of the bases that are made at once: 128 MiB of float64.
_BLOCK_NUMBERS = 1 << 24


def memory_of_past(poles: Poles, delays: Delays) -> MemoryFunction:
    """Of the last `delays.horizon` inputs."""
    states = poles.log_modulus.shape[1]
    count = max(1, _BLOCK_NUMBERS // max(1, states * delays.horizon))
    blocks = (slice(first, first + count) for first in range(0, len(poles.log_modulus), count))
    # Every delay of a block at a time: of all systems together they would not fit in memory.
    return joined(
        [
            memory_of_rows(_squared_rows(past_basis(poles.of(b), delays.horizon)), delays)
            for b in blocks
        ]
    )


def memory_of_rows(memory: Tensor, delays: Delays) -> MemoryFunction:
    """From MF at every delay of the past: (H, T), T being the horizon or more."""
    whole = memory.cumsum(-1)
    position = torch.arange(memory.shape[-1], device=memory.device)
    rank = whole[:, -1].round()
    kept = delays.kept.to(memory.device)
    return MemoryFunction(
        delays=kept,
        memory=memory[:, kept],
        below=(whole - memory)[:, kept],
        within=whole[:, delays.horizon - 1],
        rank=rank,
        capacity=whole[:, -1],
        mean_delay=(memory * position).sum(-1) / rank.clamp(min=1),
        horizon=delays.horizon,
        past=(_HORIZON,) * len(memory),
    )


def memory_of_columns(
    eigenvalues: DiscreteEigenvalues, inputs: Tensor, delays: Delays
) -> MemoryFunction:
    """Of one system with many inputs, eigenvalues (1, N) and B (N, Q), by the columns themselves.

    Where poles cluster, with fewer inputs than they are, this is good to rounding over distances.
    """
    poles, rows = with_conjugates(Poles.every(eigenvalues), inputs)
    time = torch.arange(delays.horizon, dtype=torch.float64)
    log = poles.log_modulus[0] * time.unsqueeze(-1)
    largest = log.amax(0).maximum(log.new_zeros(()))
    powers = (log - largest).exp().to(rows.dtype)
    if poles.phase is not None:
        powers = powers * torch.polar(torch.ones_like(log), poles.phase[0] * time.unsqueeze(-1))
    columns = powers.unsqueeze(1) * rows.mT  # (T, Q, N)
    scores = leverage(columns.flatten(0, 1).numpy(), np.zeros(columns.shape[0] * columns.shape[1]))
    memory = torch.from_numpy(scores).view(columns.shape[:2]).sum(1)
    return memory_of_rows(memory.unsqueeze(0), delays)


def past_basis(poles: Poles, tokens: int) -> Tensor:
    """Orthonormal columns that span lambda_i^tau, tau < tokens: (H, T, K), zero beyond the rank."""
    value = poles.values
    systems, states = value.shape
    basis = value.new_zeros(systems, tokens, states)
    latest = torch.zeros(systems, dtype=torch.long)  # which column each system added last
    for k in range(states):
        if k == 0:
            column = _exponential(poles, tokens)
        else:
            before = basis[torch.arange(systems), :, latest]
            column = _with_pole(before, value[torch.arange(systems), latest], value[:, k])
        column, found = _orthogonalised(column, basis[..., :k])
        found &= poles.counts[:, k]
        basis[..., k] = column * found.unsqueeze(-1)
        latest = torch.where(found, k, latest)
    return basis


def _squared_rows(basis: Tensor) -> Tensor:
    return basis.abs().square().sum(-1)


def _exponential(poles: Poles, tokens: int) -> Tensor:
    """lambda_0^tau to scale: (H, T)."""
    time = torch.arange(tokens, dtype=torch.float64, device=poles.log_modulus.device)
    log = poles.log_modulus[:, :1] * time
    modulus = (log - log.amax(-1, keepdim=True)).exp()
    if poles.phase is None:
        return modulus
    wave = torch.polar(modulus, poles.phase[:, :1] * time)
    return wave.real if poles.are_real else wave


def _with_pole(columns: Tensor, previous: Tensor, pole: Tensor) -> Tensor:
    """The columns (H, T), of whose span `previous` was the last pole, with another pole (H,)."""
    found = torch.empty_like(columns)
    for h, (column, last, one) in enumerate(
        zip(columns.cpu().numpy(), previous.tolist(), pole.tolist(), strict=True)
    ):
        zero = last.conjugate()
        if abs(one) <= 1:
            filtered = signal.lfilter([-zero, 1], [1, -one], column)
        else:  # v_t = l v_{t-1} + g_t solved for v_{t-1}, from v = 0 at the end
            driven = signal.lfilter([-zero, 1], [1], column)
            filtered = signal.lfilter([0, -1 / one], [1, -1 / one], driven[::-1])[::-1]
        found[h] = torch.from_numpy(filtered.copy())
    return found


def _orthogonalised(columns: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Unit columns (H, T) across the basis (H, T, k), and whether anything was left: (H,)."""
    length = torch.linalg.vector_norm(columns, dim=-1)
    columns = (columns / length.clamp(min=1e-300).unsqueeze(-1)).unsqueeze(-1)
    for _ in range(2):  # once leaves what rounding left of the first projection
        columns = columns - basis @ (basis.mH @ columns)
    columns = columns.squeeze(-1)
    left = torch.linalg.vector_norm(columns, dim=-1)
    rounding = 16 * (basis.shape[-1] + 1) * torch.finfo(torch.float64).eps
    return columns / left.clamp(min=1e-300).unsqueeze(-1), left > rounding
