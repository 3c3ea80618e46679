"""A static layer as a causal convolution: the form that state space models are trained in."""

from __future__ import annotations

import numpy as np
import torch


def convolved(kernel, inputs):
    """y_t = sum_s K_{t-s} u_s in float64, for channels that do not interact.

    kernel: (H, L) with L >= T. inputs: (B, T, H, 1).
    """
    outputs = np.zeros(inputs.shape)
    for t in range(inputs.shape[1]):
        for s in range(t + 1):
            outputs[:, t, :, 0] += kernel[:, t - s] * inputs[:, s, :, 0].numpy()
    return torch.from_numpy(outputs)


def mixed(kernel, inputs):
    """The same for one head with Q inputs and outputs. kernel: (L, Q, Q). inputs: (B, T, 1, Q)."""
    outputs = np.zeros(inputs.shape)
    for t in range(inputs.shape[1]):
        for s in range(t + 1):
            outputs[:, t, 0] += inputs[:, s, 0].numpy() @ kernel[t - s].T
    return torch.from_numpy(outputs)


def as_complex(pairs):
    """Stored pairs of floats as numpy complex128."""
    pairs = np.asarray(pairs, dtype=np.float64)
    return pairs[..., 0] + 1j * pairs[..., 1]
