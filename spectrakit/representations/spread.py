"""How the tokens of a sequence lie to each other at one depth: alike, apart, smooth along the text.

    inter-token cosine   2/(n(n-1)) sum_{i<j} cos(h_i, h_j)
                       = (||sum_i h_i/||h_i|| ||^2 - n) / (n(n-1))
    token variance       (1/n) sum_i ||h_i - mean||^2
    Dirichlet energy     (1/(n-1)) sum_i ||h_{i+1} - h_i||^2         (the text as a chain)

The cosine is that of arXiv 2510.06640 (its proxy of oversmoothing); variance and energy are named
there or in its neighbourhood without a formula, and these are ours. Both are also divided by the
mean of ||h_i||^2: the variance is then 0 where all tokens are the same and 1 where their mean is 0,
and the energy is 2 for tokens that are independent, of mean 0.

h (B, T, E) states, 0 on padding; everything comes back as (B, 2) of float64, for the `TOKEN_SETS`
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
    rest = _weighted_sum(states, inverse * tokens.rest).double()
    first = tokens.of_first(states) * tokens.of_first(inverse)[:, None]
    total = torch.stack([rest + first, rest], 1).square().sum(-1)
    count = tokens.sums(directed.double())
    return _ratio(total - count, count * (count - 1))


def token_variance(states: Tensor, tokens: BatchTokens) -> Tensor:
    """The mean squared distance from the mean token.

    States are centred on the mean of all but the first token, so that nothing cancels: neither in
    tokens that are nearly the same, nor where the first is far longer than the others.
    """
    count, count_rest = tokens.counts.unbind(-1)
    share = tokens.rest / count_rest.clamp(min=1)[:, None]
    centred = lengths(states - _weighted_sum(states, share)[:, None]).square()
    _, rest = tokens.sums(centred).unbind(-1)
    every = rest + tokens.of_first(centred) * (count - 1) / count
    variance = _ratio(torch.stack([every, rest], -1), tokens.counts)
    return variance.masked_fill(tokens.counts < 2, torch.nan)


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


def _weighted_sum(states: Tensor, weights: Tensor) -> Tensor:
    """The sum over tokens of weights (B, T) times states (B, T, E): (B, E)."""
    return torch.bmm(weights.to(states.dtype).unsqueeze(1), states).squeeze(1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """NaN, not infinity, where there is nothing to divide by."""
    return torch.where(denominator > 0, numerator / denominator, torch.nan)
