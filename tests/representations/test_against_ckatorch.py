"""CKA against the package ckatorch, on its own estimator.

It brings a plotting library, so it is no dependency: pip install --no-deps ckatorch matplotlib ...
"""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from spectrakit.representations.minibatch import MinibatchCKA

LAYERS, GROUPS, GROUP, WIDTH = 4, 3, 32, 10


class Handing(nn.Module):
    """A model whose layers' outputs are the features: (..., layers, width) in."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Identity() for _ in range(LAYERS))

    def forward(self, x):
        for index, layer in enumerate(self.layers):
            layer(x[..., index, :])
        return x


def test_groups_of_tokens_have_its_cka():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ckatorch = pytest.importorskip("ckatorch", reason="ckatorch is not installed")
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(
            GROUPS, GROUP, LAYERS, WIDTH, generator=generator, dtype=torch.float64
        ).cumsum(2)
        names = [f"layers.{index}" for index in range(LAYERS)]
        compared = ckatorch.CKA(Handing(), Handing(), names, first_name="a", second_name="b")
        theirs = compared(DataLoader(TensorDataset(features), GROUPS), epochs=1)
    ours = MinibatchCKA(GROUP)
    for group in features:
        ours.add(list(group.unbind(1)))
    # Its sums are in single precision, whatever the features are in.
    torch.testing.assert_close(ours.cka().value, theirs.double(), rtol=0, atol=1e-7)
