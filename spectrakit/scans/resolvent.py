"""S4's convolution kernel: its generating function at the roots of unity, by Woodbury's identity.

    A      = diag(Lambda) - P P^*, bilinear with step Delta
    K^(z)  = sum_{t<L} C A_bar^t B_bar z^t = C~ (I - z A_bar)^{-1} B_bar,        z^L = 1
    C~     = C (I - A_bar^L)
    R_n(z) = 2 / (2/Delta (1 - z) - (1 + z) Lambda_n)
    K^(z)  = S_CB - (1 + z) S_CP S_PB / (2 + (1 + z) S_PP),        S_XY = sum_n X_n^* Y_n R_n(z)

sums over the stored states and their conjugates, S_CB with C~ itself in place of its conjugate.
Gu et al. 2022 (arXiv 2111.00396), section 3 and appendix C; written so that z = -1 is no exception.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dplr_kernel(
    generator: Tensor, low_rank: Tensor, key: Tensor, query: Tensor, step: Tensor, length: int
) -> Tensor:
    """K (H, length), real: Re C A_bar^t B_bar, t < length.

    generator Lambda, low_rank P, key B, query C~ (of this length): complex (H, M), one of each pair
    of conjugates. step Delta: (H,).
    """
    count = length // 2 + 1
    angle = -2 * math.pi / length * torch.arange(count, device=step.device, dtype=step.dtype)
    z = torch.polar(torch.ones_like(angle), angle)
    # R_n of the stored states, and of their conjugates: (H, M, F).
    away = (2 / step).view(-1, 1, 1) * (1 - z)
    resolvent = 2 / (away - (1 + z) * generator.unsqueeze(-1))
    mirrored = 2 / (away - (1 + z) * generator.conj().unsqueeze(-1))

    def summed(left: Tensor, right: Tensor) -> Tensor:
        product = left * right
        return torch.einsum("hm,hmf->hf", product, resolvent) + torch.einsum(
            "hm,hmf->hf", product.conj(), mirrored
        )

    plain = summed(query, key)
    through = summed(query, low_rank) * summed(low_rank.conj(), key)
    loop = summed(low_rank.conj(), low_rank)
    spectrum = plain - (1 + z) * through / (2 + (1 + z) * loop)
    kernel: Tensor = torch.fft.irfft(spectrum, n=length)
    return kernel
