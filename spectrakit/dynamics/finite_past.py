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

Of a past that is much longer than the memory only the last tokens are made. Where all poles decay,
those before the last t change MF by a share of |A^t|_F^2 / (1 - |A^t|_F^2) at most, A being
input-balanced: that is the share of the basis over an infinite past which lies beyond them.

H systems, K poles, T tokens of past.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.input_balanced import takenaka_malmquist
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

#: Tokens per state from which on it is looked whether they all matter, and states up to which.
_WORTH_A_LOOK, _MOST_LOOKED_AT = 32, 1024
#: What may lie beyond the tokens that matter, of the memory of all delays times the delay.
_ROUNDING = 1e-13


def memory_of_past(poles: Poles, delays: Delays) -> MemoryFunction:
    """Of the last `delays.horizon` inputs."""
    states = max(1, poles.log_modulus.shape[1])
    lasting = lasting_tokens(poles, delays.horizon)
    parts, systems = [], []
    for tokens in lasting.unique().tolist():
        count = max(1, _BLOCK_NUMBERS // (states * tokens))
        # Every delay of a block at a time: of all systems together they would not fit in memory.
        for block in (lasting == tokens).nonzero().squeeze(-1).split(count):
            rows = _squared_rows(past_basis(poles.of(block), tokens))
            parts.append(memory_of_rows(rows, delays))
            systems.append(block)
    return joined(parts).of(torch.cat(systems).argsort())


def lasting_tokens(poles: Poles, tokens: int) -> Tensor:
    """How many of the last `tokens` inputs each system has memory of, to rounding: (H,).

    All of them where a pole does not decay.
    """
    lasting = torch.full(poles.counts.shape[:1], tokens)
    states = max(1, poles.counts.shape[1])
    if tokens <= _WORTH_A_LOOK * states or states > _MOST_LOOKED_AT:
        return lasting
    for block in poles.decaying.cpu().nonzero().squeeze(-1).split(_BLOCK_NUMBERS // states**2):
        for doublings, power in enumerate(
            takenaka_malmquist(poles.of(block)).squarings(tokens.bit_length() - 1)
        ):
            length = 2**doublings
            beyond = power.abs().square().sum((-2, -1)).cpu()
            forgotten = (length * beyond <= _ROUNDING) & (lasting[block] > length)
            lasting[block[forgotten]] = length
            if bool((lasting[block] <= length).all()):
                break
    return lasting


def memory_of_rows(memory: Tensor, delays: Delays) -> MemoryFunction:
    """From MF at every delay of the past: (H, T); where T is below the horizon, the rest is 0."""
    tokens = memory.shape[-1]
    whole = memory.cumsum(-1)
    position = torch.arange(tokens, device=memory.device)
    rank = whole[:, -1].round()
    kept = delays.kept.to(memory.device)
    known, at = kept < tokens, kept.clamp(max=tokens - 1)
    return MemoryFunction(
        delays=kept,
        memory=memory[:, at] * known,
        below=torch.where(known, (whole - memory)[:, at], whole[:, -1:]),
        within=whole[:, min(delays.horizon, tokens) - 1],
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
