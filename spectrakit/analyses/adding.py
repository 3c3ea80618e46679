"""What every analysis does around adding a layer to its sums."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit._threads import one_thread
from spectrakit.analyses.broken_tokens import first_broken_token
from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from spectrakit.architectures import Layer
    from spectrakit.dynamics import Recurrence
else:
    np = lazy_import("numpy")
    torch = lazy_import("torch")


@contextmanager
def adding(layer: Layer, recurrence: Recurrence, valid: Tensor | None) -> Iterator[None]:
    """Add what a layer showed, on one thread: sums are many small operations.

    Raises AnalysisError that names the layer, and the token where there is one, where they meet
    what is no number, or a matrix that cannot be decomposed.
    """
    try:
        with one_thread():
            yield
    except (FloatingPointError, np.linalg.LinAlgError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        message = f"layer {layer.index} ({layer.path}): {error}"
        found = None if valid is None else first_broken_token(recurrence, valid)
        if found is not None:
            message += f": sequence {found[0]} of its batch, token {found[1]}"
        hint = "look for NaN and Inf in the weights: spectrakit inspect MODEL --check-values"
        raise AnalysisError(message, hint=hint) from error
