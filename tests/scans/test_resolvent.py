"""S4's kernel by its generating function is C A^t B, whatever the length and the step."""

from __future__ import annotations

import pytest
import torch

from spectrakit.dynamics.diagonal_plus_low_rank import DiagonalPlusLowRank
from spectrakit.dynamics.discretize import with_conjugates
from spectrakit.scans.convolution import causal_convolution_fft, diagonal_kernel
from spectrakit.scans.resolvent import dplr_kernel


@pytest.mark.parametrize("length", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("step", [0.01, 0.5])
def test_it_is_the_kernel_of_the_matrices(length, step):
    generator = torch.Generator().manual_seed(length)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.complex128, generator=generator)

    channels, half = 3, 4
    poles = torch.complex(-torch.rand(channels, half, dtype=torch.float64) - 0.1,
                          torch.randn(channels, half, dtype=torch.float64))  # fmt: skip
    low_rank, key, query = draw(channels, half), draw(channels, half), draw(channels, half)
    steps = torch.full((channels,), step, dtype=torch.float64)
    operator = DiagonalPlusLowRank.from_conjugate_halves(poles, low_rank.unsqueeze(0), steps)
    transition = operator.dense()
    identity = torch.eye(2 * half, dtype=torch.complex128)
    whole = torch.cat([poles, poles.conj()], -1), torch.cat([low_rank, low_rank.conj()], -1)
    continuous = torch.diag_embed(whole[0]) - whole[1].unsqueeze(-1) * whole[1].conj().unsqueeze(-2)
    b_bar = step * torch.linalg.solve(
        identity - step / 2 * continuous, with_conjugates(key).unsqueeze(-1)
    )
    truncated = with_conjugates(query).unsqueeze(-2)
    c = torch.linalg.solve(
        identity - torch.linalg.matrix_power(transition, length), truncated, left=False
    )
    wanted = [(c @ torch.linalg.matrix_power(transition, t) @ b_bar)[:, 0, 0].real
              for t in range(length)]  # fmt: skip
    found = dplr_kernel(poles, low_rank, key, query, steps, length)
    assert torch.allclose(found, torch.stack(wanted, -1), atol=1e-9, rtol=1e-8)


@pytest.mark.parametrize("length", [1, 2, 9, 50])
def test_a_diagonal_kernel_is_a_sum_of_powers(length):
    generator = torch.Generator().manual_seed(0)
    real, imaginary = torch.rand(2, 2, 3, dtype=torch.float64, generator=generator)
    log_decay = torch.complex(-real, 6 * imaginary)
    weight = torch.randn(2, 3, dtype=torch.complex128, generator=generator)
    times = torch.arange(length)
    wanted = (weight.unsqueeze(-1) * (log_decay.unsqueeze(-1) * times).exp()).sum(1).real
    assert torch.allclose(diagonal_kernel(log_decay, weight, length), wanted, atol=1e-12)


def test_a_convolution_is_causal_and_its_definition():
    u, kernel = torch.randn(2, 11, 3, dtype=torch.float64), torch.randn(3, 11, dtype=torch.float64)
    wanted = torch.zeros_like(u)
    for t in range(11):
        for s in range(t + 1):
            wanted[:, t] += kernel[:, t - s] * u[:, s]
    assert torch.allclose(causal_convolution_fft(u, kernel), wanted, atol=1e-12)
