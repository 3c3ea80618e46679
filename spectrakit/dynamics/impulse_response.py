"""What a recurrence that does not vary makes of one signal along a direction of its inputs.

    y_t = sum_{s <= t} k_{t-s} u_s        k: the outputs for an impulse along d, from an empty state

B sequences, T tokens, H heads, P inputs and outputs of each, F features of what is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectrakit._lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spectrakit.dynamics.recurrence import Recurrence
else:
    torch = lazy_import("torch")


def impulse_response(recurrence: Recurrence, direction: Tensor, tokens: int) -> Tensor:
    """k (T, H P) for `direction` (H P,), by running the recurrence.

    Raises ValueError where it has no input and output maps to run with.
    """
    inputs = torch.zeros(1, tokens, len(direction), dtype=torch.float64)
    inputs[0, 0] = direction
    return recurrence.run(inputs.unflatten(-1, (recurrence.operator.heads, -1)))[0].flatten(1)


def convolved(response: Tensor, inputs: Tensor) -> Tensor:
    """y (B, T, F) of a response (T, F) to inputs u (B, T), by Fourier transforms of length 2 T."""
    tokens = inputs.shape[1]
    spectrum = torch.fft.rfft(response, 2 * tokens, dim=0)
    driven = torch.fft.rfft(inputs.to(response.dtype), 2 * tokens).unsqueeze(-1) * spectrum
    outputs: Tensor = torch.fft.irfft(driven, 2 * tokens, dim=1)
    return outputs[:, :tokens]
