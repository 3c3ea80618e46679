"""Feature sets that share some of what they say, and CKA of them by its definition."""

from __future__ import annotations

import torch


def related(n=300, widths=(30, 50, 17), noise=(0.1, 2.0, 5.0), mean=30.0, seed=0):
    """Sets of n tokens that are linear in the same 20 numbers, with noise of their own."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    common = normal(n, 20)
    return [
        common @ normal(20, width) + level * normal(n, width) + mean * normal(width)
        for width, level in zip(widths, noise, strict=True)
    ]


def independent(n=400, widths=(768, 512), seed=0):
    """Sets of noise that have nothing to do with each other."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, width, generator=g, dtype=torch.float64) for width in widths]


def direct_hsic(K, L):
    """HSIC_1 of n x n Gram matrices, written out (Song et al. 2012, eq. 4)."""
    n = len(K)
    K, L = (own - torch.diag(own.diagonal()) for own in (K, L))
    one = torch.ones(n, dtype=K.dtype)
    sums = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return ((K * L).sum() + sums - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))


def direct_cka(grams):
    """Unbiased CKA of all pairs of Gram matrices."""
    hsic = torch.stack([torch.stack([direct_hsic(K, L) for L in grams]) for K in grams])
    own = hsic.diagonal()
    return hsic / torch.outer(own, own).sqrt()


def gram(features):
    """Inner products of centred tokens: a shift cannot change HSIC_1, but costs digits."""
    centred = features - features.mean(0)
    return centred @ centred.mT
