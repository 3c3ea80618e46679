"""What the `empirical_memory` analysis may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from spectrakit.errors import UsageError

#: Where the signal enters: at the embeddings, at each block in turn (a pass for every block), or at
#: every mixer, without its block's norm and residual (one pass for all).
Drive: TypeAlias = Literal["model", "blocks", "mixers"]


@dataclass(frozen=True)
class EmpiricalMemoryOptions:
    """drive: what is measured, the model as a whole, every block or every mixer by itself."""

    drive: Drive = "model"

    def __post_init__(self) -> None:
        """Raises UsageError for what cannot be driven."""
        if self.drive not in get_args(Drive):
            message = f"{self.drive!r} cannot be driven"
            raise UsageError(message, hint=" or ".join(get_args(Drive)))
