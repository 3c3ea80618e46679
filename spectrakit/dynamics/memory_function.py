"""Memory functions of recurrences whose A does not vary: what their state knows of each delay.

    MF(tau) = 1 - min_w <(w^T h_t - u_{t-tau})^2> / <u^2>        u white

the share of the variance of an input that is read back from the state tau tokens later (Jaeger
2001; Dambre et al. 2012). It is the squared norm of the projection of a unit delay on the span of
the state's impulse responses. For one input that span is fixed by the eigenvalues of A alone: B and
the basis do not matter (arXiv 2510.00563 builds on this). In an input-balanced realisation

    MF(tau) = |A^tau B|^2        sum_{s >= tau} MF(s) = |A^tau|_F^2        sum MF = N

so the whole sum is always the rank N, and what tells systems apart is the curve. Over an infinite
past every pole must decay; the memory of a finite past is in `spectrakit.dynamics.finite_past`.

For Q inputs MF is the sum over them, up to min(Q, N). H systems, D delays, K poles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.input_balanced import InputBalanced, takenaka_malmquist

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.delays import Delays
    from spectrakit.dynamics.poles import Poles
else:
    torch = lazy_import("torch")

#: The inputs a memory function is about: all there ever were; those of the last `horizon` tokens,
#: before which there were none; or those of a sequence that was seen, up to a token of it.
Past = Literal["infinite", "horizon", "sequence"]

_INFINITE: Past = "infinite"

#: Those that can be asked for.
AskedPast = Literal["infinite", "horizon"]

#: Numbers of the matrices that are squared at once: 16 MiB of float64.
_BLOCK_NUMBERS = 1 << 21

#: Squarings until a power of A is nothing, at most, and what counts as nothing: |A^tau|_F^2.
_DOUBLINGS, _SETTLED = 60, 1e-20


@dataclass(frozen=True)
class MemoryFunction:
    """MF of H systems at D delays.

    delays: (D,) int64, rising. memory: (H, D). below: (H, D), the capacity of all delays below
    each; between powers of two it is shared out as MF is at the delays that were taken. within:
    (H,), that of all delays below the `horizon`. rank: (H,), the poles, and capacity: (H,), the
    whole sum: the rank, or less where something is lost to rounding. mean_delay: (H,), weighted by
    MF; inf where it has no bound, NaN where it was not computed. past: of each system.
    """

    delays: Tensor
    memory: Tensor
    below: Tensor
    within: Tensor
    rank: Tensor
    capacity: Tensor
    mean_delay: Tensor
    horizon: int
    past: tuple[Past, ...]

    def of(self, systems: Tensor) -> MemoryFunction:
        """Of some of the systems, in their order: (S,) of indices."""
        picked: dict[str, Any] = {name: getattr(self, name)[systems] for name in _BY_SYSTEM}
        return replace(self, **picked, past=tuple(self.past[h] for h in systems.tolist()))

    def mean(self) -> MemoryFunction:
        """The mean of the systems as one: (1, D). Over the horizon, where any of them is."""
        weight = self.capacity / self.capacity.sum().clamp(min=1e-300)
        return replace(
            self,
            memory=self.memory.mean(0, keepdim=True),
            below=self.below.mean(0, keepdim=True),
            within=self.within.mean(0, keepdim=True),
            rank=self.rank.mean(0, keepdim=True),
            capacity=self.capacity.mean(0, keepdim=True),
            mean_delay=(weight * self.mean_delay).sum(0, keepdim=True),
            past=(self.past[0] if len(set(self.past)) == 1 else "horizon",),
        )

    def rounded(self, rank: Tensor) -> MemoryFunction:
        """The same, said to be of rounded states that have `rank` (H,) where they are exact."""
        return replace(self, rank=rank, mean_delay=torch.full_like(rank, torch.nan))

    def delay_of_share(self, share: float) -> Tensor:
        """The first delay up to which there is `share` of the rank: (H,), NaN beyond the horizon.

        Between the delays that were taken, capacity is taken to grow evenly.
        """
        wanted = (share * self.rank).unsqueeze(-1)
        edges = torch.cat([self.below, self.within.unsqueeze(-1)], -1)
        # Shared out in rounding, the whole may come to a little less than itself.
        after = torch.searchsorted(edges, wanted * (1 - 1e-12)).clamp(1, edges.shape[-1])
        reached = after < edges.shape[-1]
        after = after.clamp(max=edges.shape[-1] - 1)
        low, high = edges.gather(-1, after - 1), edges.gather(-1, after)
        delays = torch.cat([self.delays, self.delays.new_tensor([self.horizon])])
        start, end = delays[after - 1], delays[after]
        part = ((wanted - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
        found = (start + torch.ceil(part * (end - start) - 1e-9) - 1).clamp(min=0)
        return torch.where(reached, found.double(), torch.nan).squeeze(-1)

    def last_delay_above(self, level: float) -> Tensor:
        """The last of the delays with MF >= level: (H,), -1 where there is none."""
        above = self.memory >= level
        position = torch.arange(len(self.delays), device=above.device)
        last = torch.where(above, position, -1).amax(-1)
        return torch.where(last < 0, -1, self.delays[last.clamp(min=0)])


@dataclass(frozen=True)
class Readings:
    """How well each of R ways of reading retains the directions of an input-balanced state.

    axes: (H, K, K), orthonormal columns. retained: (R, H, K), in [0, 1], of each of them.
    """

    axes: Tensor
    retained: Tensor

    def of(self, systems: slice) -> Readings:
        """Of some of the systems."""
        return Readings(self.axes[systems], self.retained[:, systems])


#: What of a memory function is there for each system.
_BY_SYSTEM = ("memory", "below", "within", "rank", "capacity", "mean_delay")


def joined(parts: Sequence[MemoryFunction]) -> MemoryFunction:
    """The systems of all `parts` in one."""
    tensors: dict[str, Any] = {
        name: torch.cat([getattr(part, name) for part in parts]) for name in _BY_SYSTEM
    }
    past = tuple(one for part in parts for one in part.past)
    return replace(parts[0], **tensors, past=past)


def memory_of_poles(
    poles: Poles, delays: Delays, readings: Readings | None = None
) -> list[MemoryFunction]:
    """Over an infinite past, as each of the `readings` sees it (only exactly, where None).

    Raises ValueError where a pole does not decay.
    """
    if not bool(poles.decaying.all()):
        message = "over an infinite past every pole must be inside the unit circle"
        raise ValueError(message)
    states = poles.log_modulus.shape[1]
    count = max(1, _BLOCK_NUMBERS // max(1, states * max(states, delays.dense)))
    blocks = [
        _of_realisation(
            takenaka_malmquist(poles.of(slice(first, first + count))),
            delays,
            None if readings is None else readings.of(slice(first, first + count)),
        )
        for first in range(0, len(poles.log_modulus), count)
    ]
    return [joined(parts) for parts in zip(*blocks, strict=True)]


def memory_of_realisation(
    system: InputBalanced, delays: Delays, readings: Readings | None = None
) -> list[MemoryFunction]:
    """As `memory_of_poles`, of a realisation that is there already (several inputs)."""
    return _of_realisation(system, delays, readings)


class _Energies:
    """Squared norms of states, as each reading sees them."""

    def __init__(self, poles: Poles, readings: Readings | None) -> None:
        exact = poles.counts.double().unsqueeze(0)
        self._axes = None if readings is None else readings.axes.mH
        self._retained = exact if readings is None else torch.cat([exact, readings.retained])

    @property
    def whole(self) -> Tensor:
        """Of the unit of every direction: (R, H)."""
        return self._retained.sum(-1)

    def below(self, power: Tensor) -> Tensor:
        """Capacity of the delays below tau, from A^tau: (R, H)."""
        return self.whole - self.of(power).sum(-1)

    def of(self, states: Tensor) -> Tensor:
        """(H, K, columns) -> (R, H, columns)."""
        exact = _squared(states).sum(-2).unsqueeze(0)
        if self._axes is None:
            return exact
        seen = self._retained[1:].transpose(0, 1) @ _squared(self._axes @ states)
        return torch.cat([exact, seen.transpose(0, 1)])


def _squared(values: Tensor) -> Tensor:
    return values.real.square() + values.imag.square() if values.is_complex() else values.square()


def _of_realisation(
    system: InputBalanced, delays: Delays, readings: Readings | None
) -> list[MemoryFunction]:
    energies = _Energies(system.poles, readings)
    inputs = system.input.shape[-1]
    doublings = delays.dense.bit_length() - 1
    powers = system.squarings(doublings + delays.octaves)
    states = system.input  # A^tau B side by side, for the tau taken last
    for _ in range(doublings):
        states = torch.cat([states, next(powers) @ states], -1)
    power = next(powers)
    memory = [_by_delay(energies.of(states), inputs)]
    below = [memory[0].cumsum(-1) - memory[0]]
    start = energies.below(power)
    for _ in range(delays.octaves):
        states = states.unflatten(-1, (-1, inputs))[..., ::2, :].flatten(-2)
        following = power @ states
        states = torch.cat([states, following], -1)
        power = next(powers)
        end = energies.below(power)
        memory.append(_by_delay(energies.of(following), inputs))
        below.append(_shared_out(start, end, memory[-1]))
        start = end
    parts = (torch.cat(memory, -1), torch.cat(below, -1), start)
    # Of one input the poles tell it; of several it depends on B too.
    mean_delay = system.poles.mean_delay() if inputs == 1 else _mean_delay(system)
    return [
        _one(
            system.poles,
            delays,
            mean_delay if reading == 0 else torch.full_like(mean_delay, torch.nan),
            *(part[reading] for part in (energies.whole, *parts)),
        )
        for reading in range(len(start))
    ]


def _mean_delay(system: InputBalanced) -> Tensor:
    """sum_tau tau MF(tau) / N = sum_{tau > 0} |A^tau|_F^2 / N: (H,), by doubling."""
    states = system.state.shape[-1]
    total = torch.eye(states, dtype=system.state.dtype, device=system.state.device)
    for power in system.squarings(_DOUBLINGS):
        total = total + power @ total @ power.mH
        if float(_squared(power).sum((-2, -1)).max()) < _SETTLED:
            break
    found: Tensor = total.diagonal(dim1=-2, dim2=-1).sum(-1).real - states
    return found / states


def _by_delay(energies: Tensor, inputs: int) -> Tensor:
    """(R, H, D Q) -> (R, H, D)."""
    by_delay: Tensor = energies.unflatten(-1, (-1, inputs)).sum(-1)
    return by_delay


def _shared_out(start: Tensor, end: Tensor, memory: Tensor) -> Tensor:
    """Capacity below each delay of an octave (R, H, D) that begins with `start` (R, H) of it."""
    whole = memory.sum(-1, keepdim=True)
    share = torch.where(whole > 0, (memory.cumsum(-1) - memory) / whole.clamp(min=1e-300), 0)
    return start.unsqueeze(-1) + (end - start).clamp(min=0).unsqueeze(-1) * share


def _one(
    poles: Poles,
    delays: Delays,
    mean_delay: Tensor,
    capacity: Tensor,
    memory: Tensor,
    below: Tensor,
    last: Tensor,
) -> MemoryFunction:
    """What one reading sees, cut at the horizon: capacity, last (H,), memory and below (H, D)."""
    count = delays.count
    edges = torch.cat([below, last.unsqueeze(-1)], -1)
    bounds = [*delays.all.tolist(), delays.end]
    part = (delays.horizon - bounds[count - 1]) / (bounds[count] - bounds[count - 1])
    return MemoryFunction(
        delays=delays.kept.to(memory.device),
        memory=memory[:, :count],
        below=below[:, :count],
        within=torch.lerp(edges[:, count - 1], edges[:, count], part),
        rank=poles.rank.double(),
        capacity=capacity,
        mean_delay=mean_delay,
        horizon=delays.horizon,
        past=(_INFINITE,) * len(memory),
    )
