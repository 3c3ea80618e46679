"""HSIC_1 of linear kernels from sums over tokens: one pass, nothing kept but the sums.

    k_i = |x_i|^2,  l_i = |y_i|^2                       features x, y with a fixed centre taken off
    M = sum x_i y_i^T,  s = sum x_i,  t = sum y_i,  a = sum l_i x_i,  b = sum k_i y_i

    sum_{i != j} K_ij L_ij = |M|_F^2 - sum k_i l_i
    sum_i r_i q_i          = s^T M t - a.s - b.t + sum k_i l_i
    sum_i r_i              = |s|^2 - sum k_i

The centre is a median of the first tokens: without it the differences above lose the digits that a
large mean takes. Everything is in float64. A token R times as long as the others has k_i l_i of
R^4, and what is left after the differences is of R^2: far tokens are kept apart, with their pairs
written out,

    sum_{j != e} K_ej L_ej = x_e^T M y_e + ...        r_e = x_e.s + ...        e a far token

It takes n sum E_a E_b multiplications over pairs of S sets: more than tiles of Gram matrices do for
few tokens, less for many, and memory for a matrix (E_a, E_b) of every pair whatever n is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations.hsic import PairSums
from spectrakit.representations.kernels import robust_centre

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: |x|^2 over its median from which on a token is far, and how many are kept apart.
_FAR = 1e6
_MOST_FAR = 256


class FeatureSums:
    """Sums of S feature sets over the same tokens."""

    def __init__(self) -> None:
        self.n = 0
        self._centres: list[Tensor] = []
        self._products: dict[tuple[int, int], Tensor] = {}  # a <= b: M (E_a, E_b)
        self._sums: list[Tensor] = []  # s (E_a,)
        self._weighted: list[Tensor] = []  # a: sum of k_b x_a for every b, (E_a, S)
        self._squares = torch.zeros(0)  # sum of k_a, (S,)
        self._quartics = torch.zeros(0)  # sum of k_a k_b, (S, S)
        self._energy = torch.zeros(0)  # sum of |x_a|^2 before the centre is taken off, (S,)
        self._rounding = 0.0
        self._far: list[Tensor] = []  # features of far tokens, (m, E_a)

    @staticmethod
    def bytes_for(widths: Sequence[int]) -> int:
        """What the sums of sets of these widths take."""
        return 8 * sum(a * b for index, a in enumerate(widths) for b in widths[index:])

    def add(self, features: Sequence[Tensor]) -> None:
        """Take in tokens: S tensors (n, E)."""
        if self.n == 0:
            self._start(features)
        self.n += len(features[0])
        features = self._without_far(features)
        centred = [own.double() - c for own, c in zip(features, self._centres, strict=True)]
        squares = torch.stack([own.square().sum(1) for own in centred])  # (S, n)
        self._squares += squares.sum(1)
        self._quartics += squares @ squares.mT
        self._energy += torch.stack([own.double().square().sum() for own in features])
        for a, own in enumerate(centred):
            self._sums[a] += own.sum(0)
            self._weighted[a] += own.mT @ squares.mT
            for b in range(a, len(centred)):
                self._products[a, b].addmm_(own.mT, centred[b])

    def _without_far(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Those tokens but the far ones, which are kept apart as long as they are few."""
        pairs = zip(features, self._centres, strict=True)
        squares = torch.stack([(own.double() - c).square().sum(1) for own, c in pairs])
        far = (squares > _FAR * squares.median(1, keepdim=True).values).any(0)
        if not 0 < int(far.sum()) <= _MOST_FAR - len(self._far[0]):
            return list(features)
        pairs = zip(self._far, features, strict=True)
        self._far = [torch.cat([kept, own[far].double()]) for kept, own in pairs]
        return [own[~far] for own in features]

    def _start(self, features: Sequence[Tensor]) -> None:
        sets = len(features)
        zeros = features[0].new_zeros
        self._centres = [robust_centre(own) for own in features]
        self._far = [zeros(0, own.shape[1], dtype=torch.float64) for own in features]
        self._products = {
            (a, b): zeros(features[a].shape[1], features[b].shape[1], dtype=torch.float64)
            for a in range(sets)
            for b in range(a, sets)
        }
        self._sums = [zeros(own.shape[1], dtype=torch.float64) for own in features]
        self._weighted = [zeros(own.shape[1], sets, dtype=torch.float64) for own in features]
        self._squares, self._energy = zeros(2, sets, dtype=torch.float64)
        self._quartics = zeros(sets, sets, dtype=torch.float64)
        kept = [torch.promote_types(own.dtype, torch.float32) for own in features]
        self._rounding = max(torch.finfo(dtype).eps for dtype in kept)

    def pair_sums(self, more: Sequence[Tensor] | None = None) -> PairSums:
        """The sums that HSIC_1 is made of; `more`: tokens to count besides, S tensors (m, E)."""
        apart = self._apart(more)
        sets, far = len(self._sums), len(apart[0])
        n = self.n - len(self._far[0]) + far
        zeros = self._quartics.new_zeros
        norms, crossed, pairs = zeros(3, sets, sets)
        total = [s + own.sum(0) for s, own in zip(self._sums, apart, strict=True)]
        for (a, b), M in self._products.items():
            norms[a, b] = norms[b, a] = M.square().sum()
            crossed[a, b] = crossed[b, a] = total[a] @ M @ total[b]
            pairs[a, b] = pairs[b, a] = ((apart[a] @ M) * apart[b]).sum()
        among = torch.stack([own @ own.mT for own in apart])  # (S, m, m)
        among.diagonal(dim1=1, dim2=2).zero_()
        flat = among.flatten(1)
        by_far = torch.stack([own @ s for own, s in zip(apart, self._sums, strict=True)])
        by_far += among.sum(2)
        weighted = torch.stack([s @ w for s, w in zip(total, self._weighted, strict=True)])
        norm = torch.stack([s @ t for s, t in zip(self._sums, total, strict=True)])
        squares = self._squares + torch.stack([own.square().sum() for own in apart])
        spread = squares - torch.stack([s.square().sum() for s in total]) / n
        energy = self._energy + torch.stack([
            (own + c).square().sum() for own, c in zip(apart, self._centres, strict=True)
        ])  # fmt: skip
        return PairSums(
            n,
            inner=(norms - self._quartics + 2 * pairs + flat @ flat.mT).cpu(),
            rows=(crossed - weighted - weighted.mT + self._quartics + by_far @ by_far.mT).cpu(),
            total=(norm - self._squares + by_far.sum(1)).cpu(),
            constant=(spread <= (16 * self._rounding) ** 2 * energy).cpu(),
            rounding=16 * torch.finfo(torch.float64).eps,
        )

    def _apart(self, more: Sequence[Tensor] | None) -> list[Tensor]:
        """The tokens whose pairs are written out, without the centre: S tensors (m, E)."""
        kept = self._far
        if more is not None:
            kept = [torch.cat([own, m.double()]) for own, m in zip(kept, more, strict=True)]
        return [own - c for own, c in zip(kept, self._centres, strict=True)]
