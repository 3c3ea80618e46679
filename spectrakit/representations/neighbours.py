"""Mutual k-nearest-neighbour alignment: the share of neighbours that two sets of features share.

    m(X, Y) = 1/(n k) sum_i |N_k(x_i) & N_k(y_i)|          N_k: the k tokens of largest cosine

(Huh et al. 2024, "The Platonic representation hypothesis", section 2 and appendix.) It lies in
[0, 1] and looks at the neighbourhood of every token alone. Cosines are ranked by the distances of
the unit vectors, |u - v|^2 = 2 - 2 cos, in float64 and around a centre of theirs: where all tokens
share a large mean the cosines differ in their last digits alone.

**Permutation null.** With a_ij = 1 where j is among the neighbours of i, m n k = sum a_ij b_ij.
With the tokens of y permuted its mean is n k^2 / (n-1), and its variance is Mantel's (1967) for
matrices that are not symmetric: a sum over the seven ways in which two ordered pairs of tokens can
share members, each the product of what a and b have of it over how often it occurs.

n tokens, S feature sets, k neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import
from spectrakit.representations.cka import Alignment
from spectrakit.representations.hsic import FEWEST_TOKENS, TooFewTokens
from spectrakit.representations.kernels import robust_centre, squared_distances

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

#: Tokens whose neighbours are looked for at once.
_BLOCK = 1024


def nearest_neighbours(features: Tensor, k: int) -> Tensor:
    """The k other tokens of largest cosine with each of the tokens (n, E): (n, k)."""
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    without_direction = ~unit.any(1)
    unit = unit - robust_centre(unit)
    found = []
    for start in range(0, len(unit), _BLOCK):
        distances = squared_distances(unit[start : start + _BLOCK], unit)
        distances[:, without_direction] = 2.0  # a cosine of 0
        distances.diagonal(offset=start).fill_(torch.inf)
        found.append(distances.topk(k, largest=False, sorted=False).indices)
    return torch.cat(found)


def mutual_neighbours(features: Sequence[Tensor], k: int, constant: Tensor) -> Alignment:
    """Mutual k-nearest-neighbour alignment of all pairs of S feature sets (n, E).

    constant: (S,) of bool, sets without neighbourhoods: their values are NaN.

    Raises TooFewTokens where there are no more than k + 1, or fewer than four.
    """
    n = len(features[0])
    if n < max(FEWEST_TOKENS, k + 2):
        message = f"{k} nearest neighbours need {max(FEWEST_TOKENS, k + 2)} tokens, not {n}"
        raise TooFewTokens(message)
    neighbours = torch.stack([nearest_neighbours(own, k) for own in features])  # (S, n, k)
    common = torch.stack([_common(own, neighbours) for own in neighbours])
    moments = torch.stack([_moments(own) for own in neighbours])  # (S, 7)
    ways = torch.tensor(_ways(n), dtype=torch.float64, device=moments.device)
    mean = n * k * k / (n - 1)
    variance = (moments / ways) @ moments.mT - mean**2
    missing = torch.where(constant[:, None] | constant, torch.nan, 0.0).to(common.device)
    return Alignment(
        common / (n * k) + missing,
        missing + mean / (n * k),
        variance.clamp(min=0).sqrt() / (n * k) + missing,
        n,
    )


def _common(own: Tensor, others: Tensor) -> Tensor:
    """How many neighbours (n, k) are among those of each of the others (S, n, k): (S,)."""
    shared = [(own[:, :, None] == other[:, None, :]).sum() for other in others]
    return torch.stack(shared).double()


def _ways(n: int) -> list[int]:
    """In how many ways two ordered pairs (i, j), (i', j') of n tokens share what they share."""
    one = n * (n - 1)
    two = one * (n - 2)
    return [one, one, two, two, two, two, two * (n - 3)]


def _moments(neighbours: Tensor) -> Tensor:
    """Sums of a_ij a_i'j' over each of those ways (7,), in the order of `_ways`.

    The same pair; the pair turned round; i = i'; j = j'; i = j'; j = i'; nothing shared.
    """
    n, k = neighbours.shape
    chosen_by = torch.bincount(neighbours.flatten(), minlength=n).double()
    # j is chosen by i, and i is among what j chose.
    itself = torch.arange(n, device=neighbours.device)[:, None, None]
    back = (neighbours[neighbours] == itself).sum()
    same, turned = float(n * k), float(back)
    from_one = n * k * k - same
    to_one = float(chosen_by.square().sum()) - same
    chain = float(chosen_by.sum()) * k - turned
    rest = (n * k) ** 2 - same - turned - from_one - to_one - 2 * chain
    return torch.tensor(
        [same, turned, from_one, to_one, chain, chain, rest],
        dtype=torch.float64,
        device=neighbours.device,
    )
