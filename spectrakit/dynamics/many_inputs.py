"""The input-balanced realisation of one diagonal system with many inputs (S5, LRU).

    h_t = diag(l) h_{t-1} + B u_t        rows b_i of B, one per pole

With one input the poles fix what is remembered; with Q the directions b_i do too. The cascade has a
section per pole that acts along one direction c_i of the Q signals that reach it, and passes the
others on (Blaschke-Potapov factors):

    e = c_i u'    s' = l_i s + w_i e    o = w_i s - l_i^* e    u'' = u' + c_i^H (o - e)

c_i is b_i seen through the factors before it, V_{i-1}(l_i^*): c <- c + (beta_j - 1) (c c_j^H) c_j
with beta_j = (l_i - l_j) / (1 - l_j^* l_i). Where nothing of b_i is left, its state is one that the
others have already. The rounding of B is the only error, as large as distances make it where many
poles that cluster share a direction.

Potapov 1955; for rational interpolation along directions: Ball, Gohberg & Rodman 1990.

K states, Q inputs. A system is one head: the leading axis H of `InputBalanced` is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.input_balanced import InputBalanced
from spectrakit.dynamics.poles import Poles, principal
from spectrakit.dynamics.rounded_memory import one_less_product, pole_differences

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.eigenvalues import DiscreteEigenvalues
else:
    torch = lazy_import("torch")


@dataclass(frozen=True)
class ManyInputs:
    """An input-balanced realisation, and its states in the coordinates of the stored ones.

    coordinates: T (1, K, K) as in `rounded_memory`.
    """

    system: InputBalanced
    coordinates: Tensor


#: What is left of a direction counts if it is more than rounding can have left of none.
_ROUNDING = 16


def input_balanced(eigenvalues: DiscreteEigenvalues, inputs: Tensor) -> ManyInputs:
    """Of a diagonal A with `eigenvalues` (1, N), all inside the unit circle, and B (N, Q).

    Conjugates that are not among the states are added: the read-out is real. States that repeat
    others do not count in its poles.
    """
    poles, rows = with_conjugates(Poles.every(eigenvalues), inputs)
    rows = rows / torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp(min=1e-300)
    weight, value = poles.weight[0], poles.values[0].to(rows.dtype)
    states, signals = rows.shape
    apart = one_less_product(poles)[0]
    factor = pole_differences(poles)[0] / apart
    state, driven = rows.new_zeros(states, states), rows.new_zeros(states, signals)
    coordinates = rows.new_zeros(states, states)
    # What reaches a section, of the states before it and of the input.
    reaching, passed = rows.new_zeros(signals, states), torch.eye(signals, dtype=rows.dtype)
    counts = torch.zeros(states, dtype=torch.bool)
    for i in range(states):
        length = torch.linalg.vector_norm(rows[i])
        if float(length) <= _ROUNDING * states * torch.finfo(weight.dtype).eps:
            continue
        counts[i] = True
        direction = rows[i] / length
        along = rows @ direction.conj()
        coordinates[i:, i] = (weight * weight[i] / apart[:, i] * along)[i:]
        state[i] = weight[i] * (direction @ reaching)
        driven[i] = weight[i] * (direction @ passed)
        section = -(1 + value[i].conj()) * (direction @ reaching)
        section[i] += weight[i]
        back = direction.conj().unsqueeze(-1)
        reaching = reaching + back * section
        passed = passed - back * ((1 + value[i].conj()) * (direction @ passed))
        rows = rows + ((factor[:, i] - 1) * along).unsqueeze(-1) * direction
        state[i, i] = value[i]
    if signals > states:  # B B^H is all that matters of B
        driven = torch.linalg.qr(driven.mH, mode="r").R.mH
    poles = replace(poles, counts=counts.unsqueeze(0))
    balanced = InputBalanced(poles, state.unsqueeze(0), driven.unsqueeze(0))
    return ManyInputs(balanced, coordinates.unsqueeze(0))


def with_conjugates(poles: Poles, rows: Tensor) -> tuple[Poles, Tensor]:
    """The poles and rows of B with the conjugates of those that have none."""
    if poles.phase is None:
        return poles, rows.to(torch.promote_types(rows.dtype, torch.float64))
    log, phase = poles.log_modulus[0], poles.phase[0]
    rows = rows.to(torch.complex128)
    opposite = principal(-phase)
    mirrored = (log.unsqueeze(-1) == log) & (opposite.unsqueeze(-1) == phase)
    mirrored &= (rows.conj().unsqueeze(1) == rows.unsqueeze(0)).all(-1)
    lacking = ~mirrored.any(-1)
    whole = torch.cat([log, log[lacking]]).unsqueeze(0)
    phases = torch.cat([phase, opposite[lacking]]).unsqueeze(0)
    counts = torch.ones_like(whole, dtype=torch.bool)
    return Poles(whole, phases, counts), torch.cat([rows, rows[lacking].conj().resolve_conj()])
