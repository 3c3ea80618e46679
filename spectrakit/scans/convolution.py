"""A fixed single-input, single-output recurrence as a convolution: by the FFT of its kernel.

    K_t = Re sum_m w_m exp(a_m t)                    y = K * u

Gu et al. 2022 (arXiv 2206.11893), section 3.
"""

from __future__ import annotations

import math
from typing import Any

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
    """y_t = sum_{s<=t} K_{t-s} u_s: (B, T, H) from u (B, T, H) and kernel (H, T), both real."""
    y: Tensor = _Convolution.apply(u, kernel)  # type: ignore[no-untyped-call]
    return y


class _Convolution(torch.autograd.Function):
    """With a backward of real transforms: that of torch's rfft is a complex one of full length."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, kernel: Tensor) -> Tensor:  # noqa: ANN401
        tokens = u.shape[1]
        spectra = _spectrum(u.transpose(1, 2)), _spectrum(kernel)
        ctx.save_for_backward(*spectra)
        return _signal(spectra[0] * spectra[1], tokens).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        of_u, of_kernel = ctx.saved_tensors
        tokens = grad.shape[1]
        of_grad = _spectrum(grad.transpose(1, 2))
        to_kernel = _signal((of_grad * of_u.conj()).sum(0), tokens)
        to_u = _signal(of_grad * of_kernel.conj(), tokens).transpose(1, 2)
        return to_u, to_kernel


def _spectrum(x: Tensor) -> Tensor:
    """Of (..., T), padded to twice the length, so that its end does not meet its beginning."""
    spectrum: Tensor = torch.fft.rfft(x, n=2 * x.shape[-1])
    return spectrum


def _signal(spectrum: Tensor, tokens: int) -> Tensor:
    """The first tokens of what has that spectrum."""
    signal: Tensor = torch.fft.irfft(spectrum, n=2 * tokens)
    return signal[..., :tokens]
