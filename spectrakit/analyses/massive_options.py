"""From where on tokens and coordinates of hidden states are massive."""

from __future__ import annotations

from dataclasses import dataclass

from spectrakit.errors import UsageError

#: k, of tokens and of coordinates: see `spectrakit.representations.massive`.
LIMIT = 20.0


@dataclass(frozen=True)
class MassiveOptions:
    """tokens: norm over the median norm of the sequence. coordinates: variance, or mean square,
    over the median of all coordinates. Infinity leaves nothing out.
    """

    tokens: float = LIMIT
    coordinates: float = LIMIT

    def __post_init__(self) -> None:
        """Raises UsageError for what means nothing."""
        for name in ("tokens", "coordinates"):
            if not getattr(self, name) > 1:
                message = f"massive {name} are more than once the median, not {getattr(self, name)}"
                raise UsageError(message, hint=f"--massive-{name} 20, or inf to keep all")
