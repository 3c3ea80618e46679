"""How the tokens of a sequence lie to each other at one depth: alike, apart, smooth along the text.

    inter-token cosine   2/(n(n-1)) sum_{i<j} cos(h_i, h_j)
                       = (||sum_i h_i/||h_i|| ||^2 - n) / (n(n-1))
    token variance       (1/n) sum_i ||h_i - mean||^2
    Dirichlet energy     (1/(n-1)) sum_i ||h_{i+1} - h_i||^2         (the text as a chain)

The cosine is that of arXiv 2510.06640 (its proxy of oversmoothing); variance and energy are named
there or in its neighbourhood without a formula, and these are ours. Both are also divided by the
mean of ||h_i||^2: the variance is then 0 where all tokens are the same and 1 where their mean is 0,
and the energy is 2 for tokens that are independent, of mean 0.

h (B, T, E) states, 0 on padding; everything comes back as (B, 3) of float64, for the `TOKEN_SETS`
of each sequence, NaN where there are too few tokens or nothing to divide by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.representations.token_sets import BatchTokens
else:
    torch = lazy_import("torch")


def lengths(states: Tensor) -> Tensor:
    """||h|| of states (..., E), summed in float64: (...)."""
    norms: Tensor = torch.linalg.vector_norm(states, dim=-1, dtype=torch.float64)
    return norms


def inter_token_cosine(states: Tensor, norms: Tensor, tokens: BatchTokens) -> Tensor:
    """The mean cosine of two different tokens; those whose state is 0 have none.

    norms: `lengths` of the states, (B, T).
    """
    directed = norms > 0
    inverse = torch.where(directed & tokens.valid, 1 / norms, 0.0)
    total = torch.bmm(tokens.weights * inverse.unsqueeze(1), states.double()).square().sum(-1)
    count = tokens.sums(directed.double())
    return _ratio(total - count, count * (count - 1))


def token_variance(states: Tensor, tokens: BatchTokens) -> Tensor:
    """The mean squared distance from the mean token.

    States are centred on the mean of those that are not massive, so that nothing cancels: neither
    in tokens that are nearly the same, nor where one is far longer than the others.
    """
    states = states.double()
    centre = tokens.ordinary / tokens.ordinary.sum(1, keepdim=True).clamp(min=1)
    centred = states - torch.bmm(centre.unsqueeze(1).double(), states)
    share = tokens.weights / tokens.counts.clamp(min=1).unsqueeze(-1)
    means = torch.bmm(share, centred).square().sum(-1)
    variance = _ratio(tokens.sums(lengths(centred).square()), tokens.counts) - means
    return variance.clamp(min=0).masked_fill(tokens.counts < 2, torch.nan)


def dirichlet_energy(states: Tensor, tokens: BatchTokens) -> Tensor:
    """The mean squared distance of two neighbouring tokens."""
    steps = lengths(states[:, 1:] - states[:, :-1]).square()
    sums = torch.einsum("bst,bt->bs", tokens.neighbours, steps)
    return _ratio(sums, tokens.neighbours.sum(-1))


def mean_square(norms: Tensor, tokens: BatchTokens) -> Tensor:
    """The mean of ||h||^2, from norms (B, T)."""
    return _ratio(tokens.sums(norms.square()), tokens.counts)


def normalised(energy: Tensor, square: Tensor) -> Tensor:
    """`energy` over `mean_square`; NaN where all states are 0."""
    return _ratio(energy, square)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """NaN, not infinity, where there is nothing to divide by."""
    return torch.where(denominator > 0, numerator / denominator, torch.nan)
