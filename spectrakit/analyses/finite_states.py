"""Hidden states that are no numbers: where they first appear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit.errors import AnalysisError

if TYPE_CHECKING:
    from torch import Tensor


def check_finite(depth: int, norms: Tensor, valid: Tensor, before: int) -> None:
    """Raise AnalysisError where the ||h|| (B, T) of a valid token is NaN or Inf.

    Depths are shown in order, so the block that is named is the one that made it. before: sequences
    of earlier batches.
    """
    broken = ~norms.isfinite() & valid
    if not bool(broken.any()):
        return
    sequence, token = broken.nonzero()[0].tolist()
    what = "NaN" if bool(norms[sequence, token].isnan()) else "Inf"
    where = f"leaves block {depth - 1} (from 0)" if depth else "enters the first block"
    message = (
        f"the residual stream is {what} where it {where}: "
        f"sequence {before + sequence}, token {token}"
    )
    hint = "--dtype float32, or spectrakit inspect MODEL --check-values"
    raise AnalysisError(message, hint=hint)
