"""From where on tokens and coordinates of hidden states are massive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spectrakit.options import Help, Options, option

#: k, of tokens and of coordinates: see `spectrakit.representations.massive`.
LIMIT = 20.0


@dataclass(frozen=True)
class MassiveOptions(Options):
    """tokens: norm over the median norm of the sequence. coordinates: variance, or mean square,
    over the median of all coordinates. Infinity leaves nothing out.
    """

    group: ClassVar[str] = "massive"

    tokens: float = option(
        LIMIT,
        Help(
            "Similarity and propagation leave out tokens whose norm is above this times the median "
            "norm; inf leaves out none.",
            metavar="RATIO",
        ),
        above=1,
    )
    coordinates: float = option(
        LIMIT,
        Help(
            "Similarity and propagation leave out coordinates whose variance or mean square is "
            "above this times the median; inf leaves out none.",
            metavar="RATIO",
        ),
        above=1,
    )

    @property
    def limits(self) -> tuple[float, float]:
        """Of tokens, and of coordinates."""
        return self.tokens, self.coordinates
