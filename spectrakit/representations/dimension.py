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


def tokens_taken(tokens: BatchTokens, most: int) -> Tensor:
    """How many tokens `dimensions` takes from each sequence, for each of `TOKEN_SETS`: (B, 3)."""
    found = [
        tokens.weights[index][:, _spread_evenly(valid, most)].sum(1)
        for index, valid in enumerate(tokens.valid)
    ]
    return torch.stack(found)


def dimensions(states: Tensor, tokens: BatchTokens, most: int) -> Tensor:
    """Effective rank and participation ratio of each sequence of states (B, T, E): (2, B, 3).

    The last axis is that of `TOKEN_SETS`; the sets share the tokens that were taken, but for those
    they leave out. NaN where a set has fewer than two tokens, or no variance.
    """
    found = states.new_full((2, len(states), 3), torch.nan, dtype=torch.float64, device="cpu")
    for index, sequence in enumerate(states):
        chosen = _spread_evenly(tokens.valid[index], most)
        if len(chosen) == 0:
            continue
        taken = sequence[chosen].double()
        # Around their median: what they have in common does not cost digits, nor does a massive
        # one, and tokens that are all the same have a Gram matrix of zeros.
        taken = taken - taken.median(0).values
        gram = (taken @ taken.T).cpu()
        ordinary = tokens.ordinary[index, chosen].nonzero().flatten().cpu()
        parts = (gram, gram[1:, 1:], gram[ordinary[:, None], ordinary])
        for which, part in enumerate(parts):
            same = which == 2 and len(part) == len(gram)
            found[:, index, which] = found[:, index, 0] if same else dimensions_of_gram(part)
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
