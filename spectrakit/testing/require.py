"""How a check fails: one sentence that says what was expected and what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Largest error of a float32 or float64 result, relative to the largest value.
FLOAT32, FLOAT64 = 1e-4, 1e-9


class CheckFailed(AssertionError):  # noqa: N818  (it is what pytest calls a failure)
    """The subject does not keep what the check asks for."""


def require(condition: bool, message: str) -> None:
    """Raise CheckFailed with `message` unless `condition` holds."""
    if not condition:
        raise CheckFailed(message)


def require_equal(what: str, found: object, expected: object) -> None:
    """Raise CheckFailed unless both are the same."""
    require(found == expected, f"{what}: {found!r}, expected {expected!r}")


def require_close(what: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Raise CheckFailed unless both have one shape, and differ by little of the largest value."""
    require_equal(f"shape of {what}", tuple(found.shape), tuple(expected.shape))
    if not found.numel():
        return
    # The scale of something that is all but zero is not that of its rounding.
    scale = expected.abs().max().clamp(min=1e-3)
    error = float((found - expected).abs().max() / scale)
    require(not math.isnan(error), f"{what}: NaN")
    require(error < tolerance, f"{what}: relative error {error:.1e}, allowed {tolerance:.0e}")


def matching_error(found: Tensor, expected: Tensor, most_rows: int = 64) -> float:
    """Largest distance between two sets of eigenvalues, (..., N) each, paired to make it small.

    Of more than `most_rows` sets, that many are looked at.
    """
    from scipy.optimize import linear_sum_assignment

    found, expected = found.reshape(-1, found.shape[-1]), expected.reshape(-1, found.shape[-1])
    worst = 0.0
    for row in _spread(len(found), most_rows):
        distance = (found[row, :, None] - expected[row, None, :]).abs()
        if bool(distance.isnan().any()):
            return math.nan
        pairs = linear_sum_assignment(distance.numpy())
        worst = max(worst, float(distance[pairs].max()))
    return worst


def _spread(count: int, most: int) -> Iterator[int]:
    """At most `most` of the first `count` numbers, evenly spread."""
    yield from range(0, count, max(1, math.ceil(count / most)))


def reachable_bytes(thing: object) -> int:
    """Bytes of all tensors that `thing` holds on to, each storage once; functions not looked into.

    A tensor that repeats another's memory (`expand`) counts as what it takes.
    """
    storages: dict[int, int] = {}
    _collect(thing, storages, set())
    return sum(storages.values())


def _collect(thing: object, storages: dict[int, int], visited: set[int]) -> None:
    if id(thing) in visited:
        return
    visited.add(id(thing))
    if isinstance(thing, torch.Tensor):
        storage = thing.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    elif isinstance(thing, dict):
        for value in thing.values():
            _collect(value, storages, visited)
    elif isinstance(thing, list | tuple):
        for value in thing:
            _collect(value, storages, visited)
    elif not isinstance(thing, type) and not callable(thing):
        _collect(getattr(thing, "__dict__", {}), storages, visited)
