"""Checkpoints of flash-linear-attention (fla), for spectrakit: read and run without fla itself.

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
def register_architectures(register: Callable[[Architecture], None]) -> None:
    """Models of fla, by `model_type`."""
    from spectrakit_fla.architecture import FlaCheckpoints

    register(FlaCheckpoints())


@hookimpl
def register_mixers(register: Callable[[type[Mixer]], None]) -> None:
    """The kinds of layers that spectrakit itself does not have."""
    from spectrakit_fla.mixers import NEW_KINDS

    for kind in NEW_KINDS:
        register(kind)


@hookimpl
def register_examples(register: Callable[[Example], None]) -> None:
    """What `spectrakit plugins check` holds them to."""
    from spectrakit_fla.examples import EXAMPLES

    for example in EXAMPLES:
        register(example)
