"""How far features may lie from their median: limits that light tails never meet.

Least squares gives a token's weight by the square of its distance. Some features of trained models
are a thousand times larger at a few tokens, or in one sequence, than at all others; what they are
there is limited to `_BEYOND` times the distance from the median that a quarter of the tokens
exceeds, which of a Gaussian feature is almost six standard deviations. A token that more than half
of its features have beyond their limits says nothing of the others, and is left out.

n samples, N features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

_SHARE, _BEYOND = 0.75, 5.0
#: Share of a sample's features that may be beyond their limits.
_MOST_BEYOND = 0.5
#: Samples that limits are taken from, spread evenly.
_MOST = 4096


@dataclass(frozen=True)
class FeatureLimits:
    """Lowest and highest, (N,) each."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, features: Tensor) -> FeatureLimits:
        """Of features (n, N); none for one that mostly is its median."""
        looked_at = features[:: -(-len(features) // _MOST)]
        middle = looked_at.median(0).values
        distances = (looked_at - middle).abs().sort(0).values
        far = _BEYOND * distances[int(_SHARE * (len(distances) - 1))]
        far = torch.where(far > 0, far, torch.inf)
        return cls(middle - far, middle + far)

    def limited(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (..., N) within them, and which samples (...) are not to be left out."""
        kept = features.clamp(self.low, self.high)
        return kept, (kept != features).double().mean(-1) <= _MOST_BEYOND
