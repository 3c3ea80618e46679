"""What the weights of a model are before training, where no library of models draws them.

Whoever writes a model out also says how its weights were initialised: as an `Initial`, which draws
one weight, by its name in the file.

    def initial(name, draw):
        if name.endswith("norm.weight"):
            return draw.constant(1)
        return draw.normal(0.02)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from spectrakit.mixers.draw import Draw

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Draw", "Initial"]

#: The weight of a name, in the shape that `Draw` has. Raises UnsupportedError where the scheme of
#: the model's library is not known, or is not told by its files.
Initial: TypeAlias = "Callable[[str, Draw], Tensor]"
