"""What every analysis does around adding a layer to its sums."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spectrakit._threads import one_thread
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    from spectrakit.architectures import Layer


@contextmanager
def adding(layer: Layer) -> Iterator[None]:
    """Add what a layer showed, on one thread: sums are many small operations.

    Raises AnalysisError that names the layer where they meet what is no number.
    """
    try:
        with one_thread():
            yield
    except FloatingPointError as error:
        message = f"layer {layer.index} ({layer.path}): {error} on some token"
        hint = "look for NaN and Inf in the weights: spectrakit inspect MODEL --check-values"
        raise AnalysisError(message, hint=hint) from error
