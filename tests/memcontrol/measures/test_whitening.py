"""Whitened features have unit variance, know no scale of the encoder, and tell a shift as before."""

from __future__ import annotations

import pytest
import torch

from memcontrol.measures.functional.kernel import kernel_distance
from memcontrol.measures.functional.whitening import whitening


def features(count, seed, shift=0.0):
    """Features of width 100 whose directions have spreads from 10 down to 0.1."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, 100, generator=rng) * torch.logspace(1, -1, 100) + shift


def test_the_images_themselves_have_unit_variance():
    real = features(200, 0)
    white = whitening(real)(real)
    assert white.shape == (200, 32)
    torch.testing.assert_close(white.mean(dim=0), torch.zeros(32).double(), atol=1e-8, rtol=0)
    torch.testing.assert_close(white.T @ white / 200, torch.eye(32).double(), atol=1e-8, rtol=0)


@pytest.mark.parametrize(("count", "kept"), [(200, 32), (40, 10), (3, 1)])
def test_few_images_have_few_directions(count, kept):
    assert whitening(features(count, 0))(features(5, 1)).shape == (5, kept)


def test_equal_images_have_one_direction_and_no_infinity():
    assert whitening(torch.ones(50, 10))(torch.ones(4, 10)).isfinite().all()


def test_scale_and_rotation_of_the_encoder_do_not_matter():
    rotation = torch.linalg.qr(torch.randn(100, 100, generator=torch.Generator().manual_seed(3)))[0]
    real, drawn = features(200, 0), features(80, 1, shift=0.3)
    pairs = (real, drawn), (7 * real @ rotation, 7 * drawn @ rotation)
    found = [kernel_distance(whitening(r)(d), whitening(r)(r)) for r, d in pairs]
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert found[0] > kernel_distance(whitening(real)(features(80, 2)), whitening(real)(real)) + 0.01
