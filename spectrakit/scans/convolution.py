"""A fixed single-input, single-output recurrence as a convolution: by the FFT of its kernel.

    K_t = Re sum_m w_m exp(a_m t)                    y = K * u

Gu et al. 2022 (arXiv 2206.11893), section 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def diagonal_kernel(log_decay: Tensor, weight: Tensor, length: int) -> Tensor:
    """K (H, length), real, from a and w (H, M), complex or real.

    Powers are products of those of a block and those between blocks, both exact exponentials: two
    small tables instead of one exponential for each token.
    """
    block = max(1, math.isqrt(length))
    blocks = -(-length // block)
    real = log_decay.real.dtype
    within = torch.arange(block, device=log_decay.device, dtype=real)
    between = torch.arange(blocks, device=log_decay.device, dtype=real) * block
    inner = (log_decay.unsqueeze(-1) * within).exp()  # (H, M, t)
    outer = weight.unsqueeze(-1) * (log_decay.unsqueeze(-1) * between).exp()  # (H, M, K)
    if not (inner.is_complex() or outer.is_complex()):
        kernel = outer.mT @ inner
    else:  # the real part of the product alone
        kernel = outer.real.mT @ inner.real - outer.imag.mT @ inner.imag
    return kernel.flatten(1)[:, :length]


def causal_convolution_fft(u: Tensor, kernel: Tensor) -> Tensor:
    """y_t = sum_{s<=t} K_{t-s} u_s: (B, T, H) from u (B, T, H) and kernel (H, T)."""
    tokens = u.shape[1]
    size = 2 * tokens
    spectrum = torch.fft.rfft(u.transpose(1, 2), n=size) * torch.fft.rfft(kernel, n=size)
    y: Tensor = torch.fft.irfft(spectrum, n=size)[..., :tokens].transpose(1, 2)
    return y
