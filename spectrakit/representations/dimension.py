"""How many dimensions the tokens of a sequence take up, from the eigenvalues of their covariance.

    p_i = lambda_i / sum_j lambda_j
    effective rank        exp(-sum_i p_i log p_i)          Roy & Vetterli 2007, of the covariance
    participation ratio   1 / sum_i p_i^2

Both are 1 for tokens on a line and K for a covariance with K equal eigenvalues; they are the first
and the second of one family (Hill numbers), so the ratio is never above the rank. Neither can
exceed n - 1 for n tokens: to be compared, sequences must have the same n. At most `most` tokens are
taken from each sequence, spread evenly over it.

The eigenvalues are those of the tokens' centred Gram matrix (n, n) in float64.
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


def dimensions(states: Tensor, tokens: BatchTokens, most: int) -> Tensor:
    """Effective rank and participation ratio of each sequence of states (B, T, E): (2, B, 2).

    The last axis is that of `TOKEN_SETS`; both sets share the tokens that were taken, but for the
    first. NaN where a set has fewer than two tokens, or no variance.
    """
    found = states.new_full((2, len(states), 2), torch.nan, dtype=torch.float64, device="cpu")
    for index, sequence in enumerate(states):
        chosen = _spread_evenly(tokens.valid[index], most)
        if len(chosen) == 0:
            continue
        taken = sequence[chosen].double()
        # Around one of the tokens: what they have in common does not cost digits, and tokens that
        # are all the same have a Gram matrix of zeros.
        taken = taken - taken[-1]
        gram = (taken @ taken.T).cpu()
        for which, part in enumerate((gram, gram[1:, 1:])):
            found[:, index, which] = dimensions_of_gram(part)
    return found


def dimensions_of_gram(gram: Tensor) -> Tensor:
    """Effective rank and participation ratio of vectors with this Gram matrix (n, n): (2,)."""
    if len(gram) < 2 or not bool(gram.any()):
        return gram.new_full((2,), torch.nan)
    means = gram.mean(0)
    centred = gram - means - means[:, None] + means.mean()
    eigenvalues = torch.linalg.eigvalsh(centred).clamp(min=0)
    share = eigenvalues / eigenvalues.sum()
    return torch.stack([torch.special.entr(share).sum().exp(), 1 / share.square().sum()])


def _spread_evenly(valid: Tensor, most: int) -> Tensor:
    """At most `most` of the valid tokens: the first, and others evenly spread over the rest."""
    index = valid.nonzero().flatten()
    if len(index) <= most:
        return index
    rest = torch.linspace(1, len(index) - 1, most - 1, device=index.device, dtype=torch.float64)
    return torch.cat([index[:1], index[rest.round().long()]])
