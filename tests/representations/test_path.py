from __future__ import annotations

import numpy as np
import torch

from spectrakit.representations.path import Path, angle


def walked(states):
    path = Path(states[0])
    return path, [path.advance(h) for h in states[1:]]


def test_every_quantity_is_its_definition():
    torch.manual_seed(0)
    states = torch.randn(5, 2, 3, 6)  # depths, batch, tokens, width
    path, steps = walked(states)
    h = states.double().numpy()
    u = h[1:] - h[:-1]
    size, norm = np.linalg.norm(u, axis=-1), np.linalg.norm(h, axis=-1)

    def cosine(x, y):
        return (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)

    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(path.norm, norm[-1], **close)
    np.testing.assert_allclose(path.length, size.sum(0), **close)
    np.testing.assert_allclose(path.energy, (size**2).sum(0), **close)
    np.testing.assert_allclose(path.relative_length, (size / norm[:-1]).sum(0), **close)
    np.testing.assert_allclose(path.relative_energy, ((size / norm[:-1]) ** 2).sum(0), **close)
    far = np.linalg.norm(h[-1] - h[0], axis=-1)
    np.testing.assert_allclose(path.straightness(), far / size.sum(0), **close)
    for depth, step in enumerate(steps):
        np.testing.assert_allclose(step.update, u[depth], **close)
        np.testing.assert_allclose(step.norm, size[depth], **close)
        np.testing.assert_allclose(step.relative_norm, size[depth] / norm[depth], **close)
        np.testing.assert_allclose(step.cosine, cosine(h[depth], h[depth + 1]), **close)
        if depth == 0:
            assert step.turn is None
        else:
            np.testing.assert_allclose(step.turn, cosine(u[depth - 1], u[depth]), **close)


def test_a_straight_line_is_straight_and_a_square_turns_by_right_angles():
    line = torch.arange(1.0, 5)[:, None, None, None] * torch.randn(4)
    path, steps = walked(line)
    np.testing.assert_allclose(path.straightness(), 1, rtol=1e-6)
    np.testing.assert_allclose(steps[0].cosine, 1, rtol=1e-6)
    square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])[:, None, None]
    path, steps = walked(square)
    assert [float(angle(step.turn)) for step in steps[1:]] == [90, 90, 90]
    assert float(path.straightness()) == 0
    assert float(path.length) == 4


def test_a_token_at_rest_or_at_zero_has_no_direction():
    states = torch.zeros(3, 1, 2, 4)
    states[:, :, 0] = 1.0  # token 0 stays where it is; token 1 leaves zero
    states[1:, :, 1] = 2.0
    path, (first, second) = walked(states)
    assert path.straightness().isnan().tolist() == [[True, False]]
    assert first.cosine.isnan().tolist() == [[False, True]]
    assert first.relative_norm.isnan().tolist() == [[False, True]]
    assert second.turn.isnan().tolist() == [[True, True]]
    assert path.length.tolist() == [[0, 4]]
    assert path.relative_length.isnan().tolist() == [[False, True]]
