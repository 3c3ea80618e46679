"""What spectrakit itself provides, registered through the same hooks as any plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spectrakit.hookspecs import hookimpl

if TYPE_CHECKING:
    from spectrakit.analyses.base import Analysis
    from spectrakit.architectures import Architecture
    from spectrakit.mixers import Mixer


@hookimpl
def register_architectures(register: Callable[[Architecture], None]) -> None:
    """Mamba and Mamba-2, in the formats of transformers and of mamba_ssm."""
    from spectrakit.architectures.mamba_ssm import MambaSSM
    from spectrakit.architectures.transformers_mamba import TransformersMamba, TransformersMamba2

    register(TransformersMamba())
    register(TransformersMamba2())
    register(MambaSSM())


@hookimpl
def register_mixers(register: Callable[[type[Mixer]], None]) -> None:
    """Mamba and Mamba-2."""
    from spectrakit.mixers import Mamba, Mamba2

    register(Mamba)
    register(Mamba2)


@hookimpl
def register_analyses(register: Callable[[type[Analysis]], None]) -> None:
    """Eigenvalue spectra."""
    from spectrakit.analyses.spectrum import Spectrum

    register(Spectrum)
