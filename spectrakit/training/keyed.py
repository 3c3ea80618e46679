"""Random numbers that are pure functions of what they are for: no generator has a state to save.

A key is made of a seed and of numbers that say what is drawn (step, example, layer); the numbers
drawn for a key are the same on every device, in any order and in any batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

_MASK = (1 << 64) - 1
#: Of splitmix64: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mixed(value: int) -> int:
    """A 64-bit number whose every bit depends on every bit of `value` (splitmix64)."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def key_of(*parts: int) -> int:
    """A 64-bit key of several numbers, whose order counts."""
    key = 0
    for part in parts:
        key = mixed(key ^ mixed(part & _MASK))
    return key


def keys_of(key: int, numbers: Tensor) -> Tensor:
    """Keys (...), int64, of `key` with each of `numbers` (...): as `key_of` with one more part."""
    inner = _mixed(numbers.to(torch.int64))
    # `key_of` folds from the left: the state after its parts is the key itself.
    return _mixed(inner ^ _signed(key))


def with_part(keys: Tensor, part: int) -> Tensor:
    """Each of `keys` (...) with one more part, as `key_of` has it."""
    return _mixed(keys ^ _signed(mixed(part & _MASK)))


def uniform(keys: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Numbers in [0, 1) for each key: (..., count), of 24 random bits each."""
    index = torch.arange(count, dtype=torch.int64, device=keys.device)
    bits = _mixed(keys.unsqueeze(-1) ^ _mixed(index))
    return (_shifted(bits, 40).to(torch.float32) * 2**-24).to(dtype)


def _mixed(value: Tensor) -> Tensor:
    """As `mixed`, of int64, which wrap around as unsigned ones do."""
    value = value + _signed(_GOLDEN)
    value = (value ^ _shifted(value, 30)) * _signed(_FIRST)
    value = (value ^ _shifted(value, 27)) * _signed(_SECOND)
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, by: int) -> Tensor:
    """Shifted to the right as an unsigned number is: with zeros from the left."""
    return (value >> by) & ((1 << (64 - by)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
