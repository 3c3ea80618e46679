"""What each block of a hybrid is, as its config says it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from spectrakit.errors import MalformedError

if TYPE_CHECKING:
    from spectrakit.architectures.base import Configured

#: The key has had two names, and the config classes take either.
_KEYS = ("layers_block_type", "layer_types")

#: What releases of transformers before 5 called them.
_OLDER_NAMES = {"mamba": "linear_attention", "attention": "full_attention"}


def block_types(config: Configured, known: Collection[str]) -> Sequence[str] | None:
    """The kind of every block, by transformers' present names; None where the config has no list.

    Raises MalformedError where it holds anything but the `known` kinds.
    """
    for key in _KEYS:
        listed = config.config.get(key)
        if listed is not None:
            return _known(config, key, listed, known)
    return None


def _known(config: Configured, key: str, listed: object, known: Collection[str]) -> Sequence[str]:
    names = listed if isinstance(listed, list) and listed else [listed]
    types = [_OLDER_NAMES.get(str(name), str(name)) for name in names]
    for name, kind in zip(names, types, strict=True):
        if kind not in known:
            message = f"config.json of {config.model_id}: {key} holds {name!r}, which is no block"
            raise MalformedError(message, hint=f"those known are {', '.join(sorted(known))}")
    return types


def check_length(config: Configured, types: Sequence[str], count: int) -> None:
    """Raise MalformedError unless there is a kind for each of `count` blocks."""
    if len(types) != count:
        message = (
            f"config.json of {config.model_id} has the kinds of {len(types)} blocks, "
            f"and num_hidden_layers is {count}"
        )
        raise MalformedError(message)
