"""A model inside something larger: its tensors' names without what is around them.

Wrappers that change nothing put a word of their own into names; the user's modules and training
programs put others in front. A file may hold several models, as a model and its moving average:
they are told apart here, and never read as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from spectrakit.errors import UsageError
from spectrakit.wording import given

if TYPE_CHECKING:
    from typing import Any

#: Where modules that change nothing but how another one is run have it.
AROUND = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
_WRAPPERS = re.compile(rf"(?<![^.])(?:{'|'.join(AROUND)})\.")
_MODEL = (
    "state_dict|model_state_dict|model_state|model|module|net|network|params|weights|pipeline"
    "|generator|student|teacher"
    "|current_model_state"  # Lightning's raw weights, where its state_dict holds their average
)
#: Entries of a dict that are asked whether they are tensors: dicts may hold each other many times.
_LOOKED_AT = 64
_IS_MODEL = re.compile(rf"(ema_)?({_MODEL})(_ema)?|ema|averaged_model")


def is_model(key: str) -> bool:
    """Whether programs keep a model, or its moving average, under this name."""
    return _IS_MODEL.fullmatch(key) is not None


def without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Each name by what it is without wrappers. Names that would be alike stay as they are."""
    names = list(names)
    found = {_WRAPPERS.sub("", name): name for name in names}
    if all(name.startswith("module.") for name in found):  # of data parallelism
        found = inside(found, "module.")
    return found if len(found) == len(names) else {name: name for name in names}


def inside(names: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Those of `names` that begin with `prefix`, without it."""
    return {
        name[len(prefix) :]: stored
        for name, stored in names.items()
        if name.startswith(prefix) and name != prefix
    }


def copies(names: Iterable[str]) -> list[str]:
    """The first words of names under which the same tensors stand several times; else empty."""
    under: dict[str, set[str]] = {}
    for name in names:
        first, _, rest = name.partition(".")
        if rest and is_model(first):
            under.setdefault(first, set()).add(rest)
    alike = [
        first
        for first, own in under.items()
        if any(2 * len(own & other) > len(own) for each, other in under.items() if each != first)
    ]
    return alike if len(alike) > 1 else []


def chosen(names: Mapping[str, str], key: str, model_id: str) -> dict[str, str]:
    """The tensors under `key`. Raises UsageError where there are none."""
    found = inside(names, f"{key.rstrip('.')}.")
    if not found:
        first = list(dict.fromkeys(name.partition(".")[0] for name in names))
        shown = ", ".join(first[:6]) + (", ..." if len(first) > 6 else "")
        hint = given(key=first[0]) if first else None
        raise UsageError(f"{model_id} has no tensors under {key!r}, but {shown}", hint=hint)
    return found


def around(names: Iterable[str], starts: Sequence[str]) -> list[str]:
    """What stands before the first of `starts` that any name has as whole words, each once.

    starts: how names of a model's blocks begin, before the block's number. [""] where they stand
    in front, [] where no name has any of them.
    """
    names = list(names)
    if any(name.startswith(tuple(starts)) for name in names):
        return [""]
    for start in starts:
        pattern = re.compile(rf"(.*?\.){re.escape(start)}\d+\.")
        found = dict.fromkeys(match[1] for name in names if (match := pattern.match(name)))
        if found:
            return list(found)
    return []


def several(model_id: str, keys: Sequence[str]) -> UsageError:
    """The error for a file of several models: which they are, and how to choose."""
    keys = [key.rstrip(".") for key in keys]
    shown = ", ".join(keys[:6]) + (", ..." if len(keys) > 6 else "")
    message = f"{model_id} holds {len(keys)} models, under {shown}"
    return UsageError(message, hint=given(key=keys[0]))


def models_in(saved: Mapping[Any, Any], is_tensor: Callable[[object], bool]) -> list[str]:
    """The keys of a training program's dict under which there is a model, in its order."""
    return [
        key
        for key, value in saved.items()
        if isinstance(key, str) and is_model(key) and _holds_tensors(value, is_tensor)
    ]


def _holds_tensors(value: object, is_tensor: Callable[[object], bool], depth: int = 3) -> bool:
    """Whether a dict of names holds tensors, itself or in dicts inside it."""
    if not isinstance(value, Mapping) or not depth:
        return False
    return any(
        isinstance(key, str) and (is_tensor(item) or _holds_tensors(item, is_tensor, depth - 1))
        for key, item in islice(value.items(), _LOOKED_AT)
    )
