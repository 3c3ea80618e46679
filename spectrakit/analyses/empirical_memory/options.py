"""What the `empirical_memory` analysis may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from spectrakit.options import Options, option

#: Where the signal enters: at the embeddings, at each block in turn (a pass for every block), or at
#: every mixer, without its block's norm and residual (one pass for all).
Drive: TypeAlias = Literal["model", "blocks", "mixers"]


@dataclass(frozen=True)
class EmpiricalMemoryOptions(Options):
    """drive: what is measured, the model as a whole, every block or every mixer by itself."""

    group: ClassVar[str] = "empirical_memory"

    drive: Drive = option(
        "model",
        "What empirical_memory measures: the model, its blocks or its mixers.",
        flag="drive",
    )
