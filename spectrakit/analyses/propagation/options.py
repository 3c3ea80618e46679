"""What the `propagation` analysis may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spectrakit.options import Options, option


@dataclass(frozen=True)
class PropagationOptions(Options):
    """rank_tokens: of each sequence, at most so many are taken for effective rank and participation
    ratio, which cannot exceed one less.
    """

    group: ClassVar[str] = "propagation"

    rank_tokens: int = option(
        128,
        "Tokens of a sequence that effective rank is taken of, at most.",
        flag="rank_tokens",
        at_least=3,
    )
