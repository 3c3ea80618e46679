"""Hidden states that are no numbers: where they first appear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.errors import AnalysisError
from spectrakit.wording import given

if TYPE_CHECKING:
    from torch import Tensor

    from spectrakit.architectures import Layer


def check_finite(depth: int, norms: Tensor, valid: Tensor, before: int) -> None:
    """Raise AnalysisError where the ||h|| (B, T) of a valid token is NaN or Inf.

    Depths are shown in order, so the block that is named is the one that made it. before: sequences
    of earlier batches.
    """
    where = f"leaves block {depth - 1} (from 0)" if depth else "enters the first block"
    _check("the residual stream", f" where it {where}", norms, valid, before)


def check_mixer_finite(what: str, layer: Layer, norms: Tensor, valid: Tensor, before: int) -> None:
    """The same of what a layer's mixer is handed, or gives, as `what` says."""
    _check(f"what the mixer of layer {layer.index} {what}", "", norms, valid, before)


def _check(vectors: str, where: str, norms: Tensor, valid: Tensor, before: int) -> None:
    broken = ~norms.isfinite() & valid
    if not bool(broken.any()):
        return
    sequence, token = broken.nonzero()[0].tolist()
    kind = "NaN" if bool(norms[sequence, token].isnan()) else "Inf"
    message = f"{vectors} is {kind}{where}: sequence {before + sequence}, token {token}"
    hint = f"{given(dtype='float32')}, or spectrakit inspect MODEL --check-values"
    raise AnalysisError(message, hint=hint)
