"""HSIC_1, the unbiased measure of dependence, from sums over pairs of tokens.

    K_ij = k(x_i, x_j),  L_ij = l(y_i, y_j)           kernels between tokens i and j
    r_i = sum_{j != i} K_ij,  q_i = sum_{j != i} L_ij

    HSIC_1 = [ sum_{i != j} K_ij L_ij + sum_i r_i sum_j q_j / ((n-1)(n-2))
               - 2 sum_i r_i q_i / (n-2) ] / (n(n-3))

(Song et al. 2012, "Feature selection via dependence maximization", eq. 4.) The diagonals of K and L
do not enter: they are what makes the plain estimate of two independent noises large when features
are wide. n(n-3) HSIC_1 is the inner product of K and L after U-centring, so HSIC_1(K, K) >= 0, and
it vanishes only where K_ij = a_i + a_j off the diagonal, as it does for constant features.

**Permutation null.** Permute the tokens of y at random. U-centred matrices have rows that sum to
0 and no diagonal, which leaves of Mantel's variance (1967) one term:

    E HSIC_1 = 0        Var HSIC_1 = 2 HSIC_1(K, K) HSIC_1(L, L) / (n(n-3))

exactly, for any features: no permutation has to be drawn. (The derivation is ours; the same
n(n-3)/2 are the degrees of freedom of Szekely & Rizzo's t-test of distance correlation, 2013.)

n tokens, S feature sets; all pairs of sets at once.
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

#: HSIC_1 divides by n - 3.
FEWEST_TOKENS = 4


class TooFewTokens(ValueError):  # noqa: N818  (what there is, not what went wrong)
    """An estimator needs more tokens than there are."""


@dataclass(frozen=True)
class PairSums:
    """Sums over the n tokens, and pairs of tokens, of S feature sets, in float64.

    inner: (S, S), sum over i != j of K_ij L_ij. rows: (S, S), sum over i of r_i q_i.
    total: (S,), sum over i of r_i. constant: (S,) of bool, the sets whose features do not vary.
    rounding: relative error of `inner`.
    """

    n: int
    inner: Tensor
    rows: Tensor
    total: Tensor
    constant: Tensor
    rounding: float

    def hsic(self) -> Tensor:
        """HSIC_1 of all pairs (S, S); exactly 0 with a set whose HSIC_1(K, K) is rounding alone.

        Raises TooFewTokens where there are fewer than four.
        """
        n = self.n
        if n < FEWEST_TOKENS:
            message = f"HSIC_1 needs {FEWEST_TOKENS} tokens, not {n}"
            raise TooFewTokens(message)
        totals = torch.outer(self.total, self.total) / ((n - 1) * (n - 2))
        found = (self.inner + totals - 2 * self.rows / (n - 2)) / (n * (n - 3))
        own = found.diagonal()
        noise = self.rounding * self.inner.diagonal() / (n * (n - 3))
        varies = (own > noise) & ~self.constant
        return found * torch.outer(varies, varies)


def null_variance(hsic: Tensor, n: int) -> Tensor:
    """Variance of HSIC_1 (S, S) of all pairs when the tokens of one of them are permuted."""
    own = hsic.diagonal()
    return 2 * torch.outer(own, own) / (n * (n - 3))
