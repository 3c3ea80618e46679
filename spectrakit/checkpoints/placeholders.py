"""What stands for whatever a pickle holds beside the plain values of a state dict.

A `Placeholder` is inert: it has a name and nothing else, so that nobody can come to use what was
pickled. What was pickled *into* it (arguments, state, items) is looked through once, for tensors
alone: a tensor that something unknown holds is not simply what its storage says.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from spectrakit.checkpoints.pickle_bytes import BadPickleError
from spectrakit.checkpoints.stored_tensors import Storage, StoredTensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Beyond any optimizer, scheduler or list of settings.
MAX_ABSORBED = 1_000_000
_LONGEST_NAME = 120
#: Functions that torch and Python pickle an object with, beside its class.
_OF_A_CLASS = {
    "torch._tensor._rebuild_from_type",
    "torch._tensor._rebuild_from_type_v2",
    "torch._utils._rebuild_wrapper_subclass",
    "copy_reg._reconstructor",
    "copyreg._reconstructor",
}
_NAME = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)


class Placeholder:
    """Something pickled that was not loaded.

    It is never hashed, compared, iterated over or asked whether it is true: each raises TypeError.
    """

    __slots__ = ("hides", "type_name")

    def __init__(self, type_name: str) -> None:
        """type_name: what it would have been, fit to be shown."""
        self.type_name = type_name
        self.hides: StoredTensor | Storage | None = None  #: a tensor that was pickled into it

    def __repr__(self) -> str:
        return f"<{self.type_name}, not loaded>"

    def __hash__(self) -> int:
        self._refuse()

    def __eq__(self, other: object) -> bool:
        self._refuse()

    def __bool__(self) -> bool:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise TypeError(f"a {self.type_name} was not loaded")


def type_name(module: str, name: str) -> str:
    """`module.name` as it is shown: short, in ASCII, quoted where it is not the name of anything.

    >>> type_name("argparse", "Namespace")
    'argparse.Namespace'
    """
    whole = f"{module}.{name}"[:_LONGEST_NAME]
    return whole if _NAME.fullmatch(whole) else ascii(whole)


def made(function: str, arguments: tuple[object, ...]) -> str:
    """What a call of `function` makes: an object of the class that it is given, or of its name."""
    if function in _OF_A_CLASS:
        for argument in arguments:
            if isinstance(argument, Placeholder):
                return argument.type_name
    return function


@dataclass(frozen=True)
class Unpickled:
    """What a pickle holds.

    value: dicts, lists, tuples, strings, numbers, `StoredTensor`s and `Placeholder`s.
    skipped: the names of what was not loaded, each once.
    holders: by a storage's key, the name of something not loaded that holds it too.
    """

    value: object
    skipped: tuple[str, ...]
    holders: Mapping[str, str]


class Absorbed:
    """What was pickled into placeholders, as long as the pickle is being read."""

    def __init__(self) -> None:
        self._into: dict[int, tuple[Placeholder, list[object]]] = {}
        self._count = 0

    def add(self, placeholder: Placeholder, value: object) -> None:
        """`value` is an argument, the state or an item of `placeholder`.

        Raises BadPickleError for more of them than any training program keeps.
        """
        if not _may_hold(value):
            return
        self._count += 1
        if self._count > MAX_ABSORBED:
            raise BadPickleError(f"more than {MAX_ABSORBED:,} parts of objects")
        self._into.setdefault(id(placeholder), (placeholder, []))[1].append(value)

    def settle(self) -> dict[str, str]:
        """Tell every placeholder what it hides; the names of what holds each storage, by its key.

        One walk forwards, from the placeholders to all that was pickled into them, and one back
        from the tensors found: a step for each item, however often things hold each other.
        """
        holders: dict[str, str] = {}
        parents: dict[int, list[object]] = {}
        found: dict[int, StoredTensor | Storage] = {}
        seen: set[int] = set()
        for placeholder, _ in self._into.values():
            waiting: list[object] = [placeholder]
            while waiting:
                value = waiting.pop()
                if id(value) in seen:
                    continue
                seen.add(id(value))
                if isinstance(value, StoredTensor | Storage):
                    found[id(value)] = value
                    holders.setdefault(value.key, placeholder.type_name)
                for item in self._inside(value):
                    parents.setdefault(id(item), []).append(value)
                    waiting.append(item)
        _tell(found, parents)
        return holders

    def _inside(self, value: object) -> list[object]:
        """What `value` holds and may hold tensors. Keys of dicts hold nothing."""
        items: Iterable[object] = ()
        if isinstance(value, Placeholder):
            items = self._into[id(value)][1]
        elif isinstance(value, dict):
            items = value.values()
        elif isinstance(value, list | tuple):
            items = value
        return [item for item in items if self._counts(item)]

    def _counts(self, item: object) -> bool:
        return _may_hold(item) and (not isinstance(item, Placeholder) or id(item) in self._into)


def _may_hold(value: object) -> bool:
    """Whether it is a tensor, or what may hold one, now or later; an empty tuple never does."""
    if isinstance(value, tuple):
        return len(value) > 0
    return isinstance(value, StoredTensor | Storage | Placeholder | dict | list)


def _tell(found: Mapping[int, StoredTensor | Storage], parents: Mapping[int, list[object]]) -> None:
    """From each tensor back to all that holds it."""
    told = set(found)
    waiting = deque((key, tensor) for key, tensor in found.items())
    while waiting:
        key, tensor = waiting.popleft()
        for parent in parents.get(key, ()):
            if id(parent) in told:
                continue
            told.add(id(parent))
            if isinstance(parent, Placeholder):
                parent.hides = tensor
            waiting.append((id(parent), tensor))
