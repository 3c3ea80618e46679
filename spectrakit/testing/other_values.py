"""Values that an option may have besides the one it has: to see that changing it is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from spectrakit.errors import UsageError

if TYPE_CHECKING:
    from spectrakit.options import Options, Setting

O = TypeVar("O", bound="Options")  # noqa: E741


def changed(options: O, setting: Setting) -> O | None:
    """`options` with another value of one of them; None where none is found that may stand there.

    A class of options may refuse combinations, so that several are tried.
    """
    now = getattr(options, setting.name)
    for value in _others(setting, now):
        if value == now:
            continue
        try:
            return replace(options, **{setting.name: value})
        except UsageError:
            continue
    return None


def _others(setting: Setting, now: Any) -> Iterator[Any]:  # noqa: ANN401  (of any type)
    if setting.many:
        entries = now or ()
        for value in _single(setting, entries[0] if entries else None):
            yield (value,)
            yield (*entries, value)
    else:
        yield from _single(setting, now)


def _single(setting: Setting, now: Any) -> Iterator[Any]:  # noqa: ANN401  (of any type)
    """Values of one entry, near ones first."""
    rule = setting.rule
    if setting.choices:
        yield from setting.choices
    elif setting.type is bool:
        yield not now
    elif setting.type is str:
        yield from ("other", "another")
    elif setting.type is Path:
        yield Path("other").absolute()
    else:
        kind = setting.type
        bounds = [bound for bound in (rule.at_least, rule.above, rule.at_most) if bound is not None]
        near = [kind(value) for value in (now, *bounds) if value is not None] or [kind(0)]
        yield from (value + step for value in near for step in (kind(1), kind(-1)))
        yield from (kind(value * factor) for value in near for factor in (0.5, 2, 0.9))
    if setting.optional:
        yield None
