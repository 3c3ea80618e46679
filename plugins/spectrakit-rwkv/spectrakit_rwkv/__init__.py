"""RWKV's own checkpoints (.pth), for spectrakit: RWKV-4 to 7, run on tokens.

Imported at every start of spectrakit: what is heavy is imported inside the functions. The kinds of
layers are spectrakit's own; what a version does around its recurrence is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from spectrakit import hookimpl

if TYPE_CHECKING:
    from spectrakit.architectures import Architecture
    from spectrakit.testing import Example

SPEC_VERSION = 2


@hookimpl
def register_architectures(register: Callable[[Architecture], None]) -> None:
    """In the place of spectrakit's own `rwkv-files`, which does not run them."""
    from spectrakit_rwkv.checkpoints import RunnableRWKVFiles

    register(RunnableRWKVFiles())


@hookimpl
def register_examples(register: Callable[[Example], None]) -> None:
    """Every version, as a layer and as a file."""
    from spectrakit_rwkv.examples import EXAMPLES

    for example in EXAMPLES:
        register(example)
