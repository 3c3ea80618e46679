"""Mamba-3 for spectrakit: its layers, and the files of the two libraries that train it.

Imported at every start of spectrakit: what is heavy is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spectrakit import hookimpl

if TYPE_CHECKING:
    from spectrakit.architectures import Architecture
    from spectrakit.mixers import Mixer
    from spectrakit.testing import Example

SPEC_VERSION = 2


@hookimpl
def register_mixers(register: Callable[[type[Mixer]], None]) -> None:
    """The layer's equations, with one input and output and with several."""
    from spectrakit_mamba3.mimo import Mamba3MIMO
    from spectrakit_mamba3.mixer import Mamba3

    register(Mamba3)
    register(Mamba3MIMO)


@hookimpl
def register_architectures(register: Callable[[Architecture], None]) -> None:
    """The files of mamba_ssm and of flash-linear-attention."""
    from spectrakit_mamba3.fla_files import FlaMamba3
    from spectrakit_mamba3.mamba_ssm_files import MambaSSMMamba3

    register(MambaSSMMamba3())
    register(FlaMamba3())


@hookimpl
def register_examples(register: Callable[[Example], None]) -> None:
    """What `spectrakit plugins check` holds them to."""
    from spectrakit_mamba3.examples import EXAMPLES

    for example in EXAMPLES:
        register(example)
