"""Models that were chosen: each once, and each with a name of its own."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from spectrakit.errors import UsageError
from spectrakit.wording import named
from spectrakit.zoo.entries import Entry, entry_name, safe_name, same_name, short_hash

if TYPE_CHECKING:
    from spectrakit.zoo.listed import Settings

logger = logging.getLogger("spectrakit")

#: A batch of more is several.
MOST_ENTRIES = 100_000


class Candidate(NamedTuple):
    """A model that was chosen.

    model: what opens it. shown: what its run is called after: a repository, a path. revision: its
    own, None where the settings may have one. on_hub: whether it can have one. name: what the list
    says that its run is called.
    """

    model: str
    shown: str
    settings: Settings
    revision: str | None = None
    on_hub: bool = False
    name: str | None = None


def distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Each model with the same settings once, at its first place; a note says how many were more.

    Raises UsageError beyond `MOST_ENTRIES`.
    """
    found: dict[tuple[str, str | None, int], Candidate] = {}
    more = 0
    for each in candidates:
        key = (each.model, each.revision, id(each.settings.spec))
        more += key in found
        # At its first place, but called the same whichever comes first.
        found[key] = min(found.get(key, each), each, key=_calls)
        if len(found) > MOST_ENTRIES:
            message = f"more than {MOST_ENTRIES:,} models"
            raise UsageError(message, hint="make several batches of them")
    if more:
        named_more = "1 model is" if more == 1 else f"{more:,} models are"
        logger.info("%s named more than once, with the same settings; each is run once", named_more)
    return list(found.values())


def entries_of(candidates: Sequence[Candidate]) -> list[Entry]:
    """The candidates as entries, in their order.

    What a run is called does not depend on the order: where several models would be called the
    same, eight digits of what tells them apart follow.

    Raises UsageError for a revision where no model can have one.
    """
    spec = candidates[0].settings.spec
    if spec.revision is not None and not any(each.on_hub for each in candidates):
        message = f"{named('revision')} is for models of the Hub, and none of these is"
        raise UsageError(message, hint=f"leave {named('revision')} out")
    entries = []
    for each, name in zip(candidates, _names(candidates), strict=True):
        revision = (each.revision or each.settings.spec.revision) if each.on_hub else None
        spec = replace(each.settings.spec, model=each.model, revision=revision)
        entries.append(Entry(name, spec))
    return entries


def _names(candidates: Sequence[Candidate]) -> list[str]:
    """A name for each, unique in any case."""
    names = [_first_name(each, "") for each in candidates]
    for numbers in _shared(names):
        of_model = defaultdict(list)
        for n in numbers:
            of_model[candidates[n].model, candidates[n].revision].append(n)
        for (model, revision), own in of_model.items():
            suffix = f"-{short_hash(f'{model}@{revision}')}" if len(of_model) > 1 else ""
            for n in own:
                says = candidates[n].settings.own
                apart = f"{suffix}-{short_hash(says)}" if says and len(own) > 1 else suffix
                names[n] = _first_name(candidates[n], apart)
    return _numbered(candidates, names)


def _numbered(candidates: Sequence[Candidate], names: list[str]) -> list[str]:
    """`names` with `-2` where nothing else told them apart."""
    taken = {same_name(name) for name in names}
    for numbers in _shared(names):
        in_order = sorted(numbers, key=lambda n: _identity(candidates[n]))
        count = 2
        for n in in_order[1:]:
            while same_name(name := _first_name(candidates[n], f"-{count}")) in taken:
                count += 1
            taken.add(same_name(name))
            names[n] = name
    return names


def _first_name(candidate: Candidate, suffix: str) -> str:
    if candidate.name is not None:
        return safe_name(candidate.name, suffix)
    return entry_name(candidate.shown, candidate.revision, suffix)


def _calls(candidate: Candidate) -> tuple[bool, str, str, str]:
    """What its name is made of, one that it was given first."""
    given = candidate.name
    return given is None, given or "", candidate.settings.own, candidate.shown


def _identity(candidate: Candidate) -> tuple[str, ...]:
    return (candidate.model, candidate.revision or "", candidate.settings.own, candidate.name or "")


def _shared(names: Sequence[str]) -> list[list[int]]:
    """Where names are that a file system could take for one."""
    places = defaultdict(list)
    for number, name in enumerate(names):
        places[same_name(name)].append(number)
    return [numbers for numbers in places.values() if len(numbers) > 1]
