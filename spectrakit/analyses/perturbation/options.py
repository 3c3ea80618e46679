"""What the `perturbation` analysis may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spectrakit.options import Options, option


@dataclass(frozen=True)
class PerturbationOptions(Options):
    """size: the length of the change, over that of the state; small, for a derivative."""

    group: ClassVar[str] = "perturbation"

    size: float = option(
        1e-3,
        "Length of the change that perturbation makes, over that of the state.",
        above=0,
        at_most=1,
    )
