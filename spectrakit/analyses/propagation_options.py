"""What the `propagation` and `perturbation` analyses may be told."""

from __future__ import annotations

from dataclasses import dataclass

from spectrakit.errors import UsageError


@dataclass(frozen=True)
class PropagationOptions:
    """How much is looked at, and how large the change is.

    rank_tokens: of each sequence, at most so many are taken for effective rank and participation
    ratio, which cannot exceed one less. perturbation: the change's length, over that of the state.
    """

    rank_tokens: int = 128
    perturbation: float = 1e-3

    def __post_init__(self) -> None:
        """Raises UsageError for what means nothing."""
        if self.rank_tokens < 3:
            message = "effective rank needs 3 tokens of a sequence at least, the first one included"
            raise UsageError(message)
        if not 0 < self.perturbation <= 1:
            message = f"a perturbation of {self.perturbation:g} times the state is not small"
            raise UsageError(message, hint="a number above 0 and at most 1")
