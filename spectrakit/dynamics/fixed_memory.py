"""Memory functions of recurrences whose A and B do not depend on tokens, whatever the structure.

Which of the ways to compute it applies follows from the operator and the number of inputs:

- one input: the eigenvalues decide (`memory_function`); of a diagonalisable A each counts once
- several inputs of one head (S5, LRU): B decides too (`many_inputs`)
- a pole on or outside the unit circle, or a past that is asked to be finite: `finite_past`

In nominal mode B is not known, and is taken to be the same at every token, in general position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.dynamics.diagonal_products import Diagonal
from spectrakit.dynamics.finite_past import (
    lasting_tokens,
    memory_of_columns,
    memory_of_past,
)
from spectrakit.dynamics.many_inputs import input_balanced
from spectrakit.dynamics.maps import ConstantInput
from spectrakit.dynamics.memory_function import (
    MemoryFunction,
    joined,
    memory_of_poles,
    memory_of_realisation,
)
from spectrakit.dynamics.operators import DiagonalDecay
from spectrakit.dynamics.poles import Poles, poles_of
from spectrakit.dynamics.rounded_memory import readings_through_noise, rounded_readings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.delays import Delays
    from spectrakit.dynamics.memory_function import AskedPast, Past
    from spectrakit.dynamics.recurrence import Recurrence
    from spectrakit.dynamics.rounded_memory import Precision
else:
    torch = lazy_import("torch")

#: Numbers of one system's basis over a finite past, at most: 2 GiB of complex numbers.
_MOST_NUMBERS = 1 << 27
#: Products that a layer's bases take, at most: about an hour of one processor.
_MOST_WORK = 1 << 35


class NoMemoryFunctionError(ValueError):
    """The recurrence has none, or not enough of it is known; the message says why."""


@dataclass(frozen=True)
class FixedMemory:
    """Memory functions of the H systems of a layer.

    exact: without rounding. rounded: with a state stored in fewer bits, by type; empty where it is
    not known in which basis the state is stored, or where the past is finite. inputs: Q of each.
    """

    exact: MemoryFunction
    rounded: Mapping[Precision, MemoryFunction]
    inputs: int


def fixed_memory(
    recurrence: Recurrence,
    delays: Delays,
    past: AskedPast = "infinite",
    precisions: Sequence[Precision] = (),
) -> FixedMemory:
    """Of a recurrence whose operator has no leading axes.

    past: "infinite", but for systems with a pole that does not decay, whose past is the horizon;
    or "horizon" for all.

    Raises NoMemoryFunctionError where B decides and is not known, or a finite past is too long to
    be held; FloatingPointError where an eigenvalue is NaN or infinite; UnknownOperatorError where
    `poles_of` has no implementation for the operator.
    """
    write = recurrence.input_map
    if write is not None and not isinstance(write, ConstantInput):
        message = f"what enters through a {type(write).__name__} is known at tokens alone"
        raise NoMemoryFunctionError(message)
    if write is not None and write.weight.shape[-1] > 1:
        return _of_many_inputs(recurrence, write.weight, delays, past, precisions)
    if _lacks_its_inputs(recurrence):
        message = "the memory of several inputs depends on B, which is not known here"
        raise NoMemoryFunctionError(message)
    poles = poles_of(recurrence.operator)
    if not isinstance(recurrence.operator, Diagonal):
        precisions = ()
    if past == "horizon":
        return FixedMemory(_of_horizon(poles, delays), {}, 1)
    if bool(poles.decaying.all()):
        readings = rounded_readings(poles, precisions) if precisions else None
        exact, *rounded = memory_of_poles(poles, delays, readings)
        return FixedMemory(exact, dict(zip(precisions, rounded, strict=True)), 1)
    return FixedMemory(_in_two_ways(poles, delays, poles.decaying), {}, 1)


def _of_horizon(poles: Poles, delays: Delays) -> MemoryFunction:
    """Over a past of the horizon for all systems."""
    # One that has forgotten what lies before the horizon remembers as if its past had no end.
    forgetful = poles.decaying & (lasting_tokens(poles, delays.horizon) < delays.horizon)
    found = _in_two_ways(poles, delays, forgetful)
    asked: Past = "horizon"
    return replace(found, past=(asked,) * len(found.past))


def _in_two_ways(poles: Poles, delays: Delays, infinite: Tensor) -> MemoryFunction:
    """Over an infinite past for those systems of (H,), and over one of the horizon for others."""
    parts, order = [], []
    if bool(infinite.any()):
        parts += memory_of_poles(poles.of(infinite), delays)
        order.append(infinite.nonzero())
    if not bool(infinite.all()):
        rest = poles.of(~infinite)
        systems, states = rest.log_modulus.shape
        _check_size(systems, states, delays.horizon)
        parts.append(memory_of_past(rest, delays))
        order.append((~infinite).nonzero())
    return joined(parts).of(torch.cat(order).squeeze(-1).argsort())


def _lacks_its_inputs(recurrence: Recurrence) -> bool:
    """Whether one head stands for a layer that mixes its channels, without its B (S5)."""
    return (
        recurrence.input_map is None
        and recurrence.mode == "static"
        and recurrence.head_axis == "head"
        and recurrence.operator.heads == recurrence.width == 1
    )


def _of_many_inputs(
    recurrence: Recurrence,
    weight: Tensor,
    delays: Delays,
    past: AskedPast,
    precisions: Sequence[Precision],
) -> FixedMemory:
    operator, inputs = recurrence.operator, weight.shape[-1]
    if not isinstance(operator, DiagonalDecay) or operator.heads != 1:
        message = f"several inputs of a {operator.structure} are not covered"
        raise NoMemoryFunctionError(message)
    eigenvalues = operator.eigenvalues()
    if past == "infinite" and bool(Poles.every(eigenvalues).decaying.all()):
        found = input_balanced(eigenvalues, weight[0])
        poles = found.system.poles
        readings = None
        if precisions:
            readings = readings_through_noise(found.coordinates, poles.weight, precisions)
        exact, *rounded = memory_of_realisation(found.system, delays, readings)
        return FixedMemory(exact, dict(zip(precisions, rounded, strict=True)), inputs)
    _check_size(1, operator.state_size * inputs, delays.horizon)
    return FixedMemory(memory_of_columns(eigenvalues, weight[0], delays), {}, inputs)


def _check_size(systems: int, states: int, tokens: int) -> None:
    """Raise NoMemoryFunctionError where the pasts of so many systems take too much.

    Each is a basis of states x tokens numbers, in which each column meets all others.
    """
    why = "a pole does not decay, or the past is finite and shorter than the memory"
    if states * tokens > _MOST_NUMBERS:
        message = (
            f"{why}, and {states} x {tokens} numbers do not fit in memory: take a horizon of "
            f"{_MOST_NUMBERS // states} at most, or the infinite past where poles decay"
        )
        raise NoMemoryFunctionError(message)
    if systems * states**2 * tokens > _MOST_WORK:
        message = (
            f"{why}, and {systems} x {states}^2 x {tokens} products would take hours: take a "
            f"horizon of {_MOST_WORK // (states**2 * systems)} at most, or the infinite past "
            "where poles decay"
        )
        raise NoMemoryFunctionError(message)
