"""Options of a fla config that are read at some of their values only, and sizes derived from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from spectrakit.architectures.base import Configured, config_value, positive
from spectrakit.errors import MalformedError, UnsupportedError


def require_usual(config: Configured, usual: Mapping[str, object]) -> None:
    """Raise UnsupportedError where an option in `usual` has another value than the one there.

    An option that the config lacks, or says null for, has its usual value.
    """
    for key, value in usual.items():
        found = config.config.get(key)
        if found is not None and found != value:
            message = f"{config.model_id}: {key} = {json.dumps(found)} is not read"
            raise UnsupportedError(message, hint=f"only {key} = {json.dumps(value)} is")


def choice(config: Configured, key: str, read: tuple[str, ...]) -> Any:  # noqa: ANN401  (one of `read`)
    """`config[key]`, one of `read`, of which the first is the default.

    Raises UnsupportedError otherwise.
    """
    found = config_value(config, key, str, read[0])
    if found not in read:
        message = f"{config.model_id}: {key} = {found!r} is not read"
        raise UnsupportedError(message, hint=f"it may be {', '.join(read)}")
    return found


def times(config: Configured, key: str, default: float, width: int) -> int:
    """`width` times the ratio `config[key]`, rounded down as fla does.

    Raises MalformedError where that is no size.
    """
    ratio: float = config_value(config, key, float, default)
    product = int(width * ratio)
    if not 0 < product < 1 << 31:
        message = f"config.json of {config.model_id}: {key} = {ratio} of {width} is not a size"
        raise MalformedError(message)
    return product


def split(config: Configured, channels: int, heads: int, what: str) -> int:
    """Channels of each of `heads` that share `channels`.

    Raises MalformedError where they cannot be shared.
    """
    if channels % heads:
        message = (
            f"config.json of {config.model_id}: {channels} channels of {what} "
            f"do not make {heads} heads"
        )
        raise MalformedError(message)
    return channels // heads


def pairs(config: Configured, channels: int, heads: int) -> int:
    """Channels of each of `heads`, an even number of them: pairs are rotated.

    Raises MalformedError where they cannot be shared, or make no pairs.
    """
    width = split(config, channels, heads, "keys")
    if width % 2:
        message = (
            f"config.json of {config.model_id}: {width} channels in each of {heads} heads "
            "cannot be rotated in pairs"
        )
        raise MalformedError(message)
    return width


def groups_of(config: Configured, heads: int) -> int:
    """`num_kv_heads`: the heads of keys and values, each shared by as many of `heads`.

    Raises MalformedError where they cannot be shared.
    """
    groups = positive(config, "num_kv_heads", heads)
    if heads % groups:
        message = (
            f"config.json of {config.model_id}: num_kv_heads = {groups} do not divide {heads} heads"
        )
        raise MalformedError(message)
    return groups


def convolution_width(config: Configured, *, default: bool) -> int | None:
    """`conv_size` where the layer has short convolutions (`use_short_conv`), else None.

    Raises UnsupportedError where they have biases, or are one for all.
    """
    if not config_value(config, "use_short_conv", bool, default):
        return None
    # Without convolutions these say nothing: configs of 2024 have a shared kernel all the same.
    require_usual(config, {"conv_bias": False, "share_conv_kernel": False})
    return positive(config, "conv_size", 4)
