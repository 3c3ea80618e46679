"""Which eigenvalues `spectrum` and `lyapunov` take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from spectrakit.options import Options, option

if TYPE_CHECKING:
    from spectrakit.dynamics import Domain


@dataclass(frozen=True)
class SpectrumOptions(Options):
    """domain: "discrete" for eigenvalues of the discretised A, "continuous" for those of the
    continuous-time A, or "both".
    """

    group: ClassVar[str] = "spectrum"

    domain: Literal["discrete", "continuous", "both"] = option(
        "discrete",
        "Eigenvalues of the discretised A, of the continuous A, or both.",
        flag="domain",
    )

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Each that was asked for."""
        return ("discrete", "continuous") if self.domain == "both" else (self.domain,)
