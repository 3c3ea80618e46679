"""The signal in place of vectors: white, as long as what stood there, whatever a few tokens are."""

from __future__ import annotations

import pytest
import torch

from spectrakit.analyses.empirical_memory.white_drive import WhiteDrive, white


def drive_of(seen):
    return WhiteDrive.like(seen, seed=0)


def driven(drive, before, seed=1):
    signal = white(before.shape[:2], torch.Generator().manual_seed(seed))
    return signal, drive.vectors(signal, before)


def test_the_signal_is_white_and_of_variance_one():
    u = white((64, 512), torch.Generator().manual_seed(0))
    assert set(u.unique().tolist()) == {-1.0, 1.0}
    assert u.mean().abs() < 0.03
    for lag in range(1, 8):
        assert (u[:, lag:] * u[:, :-lag]).mean().abs() < 0.03


@pytest.mark.parametrize("massive", [0, 3], ids=["light", "massive"])
def test_it_is_as_long_as_the_median_token_and_lies_around_their_mean(massive):
    generator = torch.Generator().manual_seed(2)
    before = 0.5 + torch.randn(4, 100, 48, generator=generator)
    mean, median = before.flatten(0, 1).mean(0), before.norm(dim=-1).median()
    if massive:
        before[0, 1] *= 200
        before[1:3, 0] *= 1000
    _, found = driven(drive_of(before.flatten(0, 1)), before)
    torch.testing.assert_close(found[:, 1:].norm(dim=-1), median.expand(4, 99), rtol=0.01, atol=0)
    centre = found[:, 1:].flatten(0, 1)
    middle = (centre.amax(0) + centre.amin(0)) / 2  # of the two values that there are
    torch.testing.assert_close(middle, mean, atol=0.05, rtol=0)


def test_every_sequence_begins_with_the_first_token_of_the_text():
    before = torch.randn(3, 20, 8, generator=torch.Generator().manual_seed(3))
    _, found = driven(drive_of(before.flatten(0, 1)), before)
    torch.testing.assert_close(found[:, 0], before[:1, 0].expand(3, -1))
    assert len(found[:, 1:].flatten(0, 1).unique(dim=0)) == 2


def test_a_norm_takes_nothing_of_the_signal_away():
    """What RMSNorm makes of it, in any weighting, is affine in u."""
    before = torch.randn(2, 50, 16, generator=torch.Generator().manual_seed(4)).double()
    signal, found = driven(drive_of(before.flatten(0, 1)), before)
    normed = found / found.square().mean(-1, keepdim=True).sqrt()
    read = normed @ torch.randn(16, generator=torch.Generator().manual_seed(5)).double()
    u, y = signal[:, 1:].flatten(), read[:, 1:].flatten()
    correlation = torch.corrcoef(torch.stack([u, y]))[0, 1]
    assert correlation.abs().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("width", [1, 2])
def test_few_features_and_zeros_are_no_trouble(width):
    for before in (torch.zeros(2, 5, width), torch.ones(2, 5, width), torch.randn(2, 5, width)):
        _, found = driven(drive_of(before.flatten(0, 1)), before)
        assert found.isfinite().all()
