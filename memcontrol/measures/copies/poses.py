"""Poses: where in the frame of a training image a picture may lie."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

__all__ = ["POSES", "STEPS", "WIDEST", "halves", "turned"]

WIDEST: Final = torch.tensor([[0.7, -8.0, -1.0, -1.0], [1.2, 8.0, 1.0, 1.0]])
"""Smallest and largest scale, rotation and position that are tried."""
STEPS: Final = torch.tensor([0.05, 3.0, 0.06, 0.06])
"""First steps of the search for a better pose."""


def _poses() -> Iterator[tuple[float, float, float, float]]:
    yield 1.0, 0.0, 0.0, 0.0
    for scale, count in ((0.95, 3), (0.9, 3), (0.85, 4), (0.8, 5)):
        places = torch.linspace(scale - 1, 1 - scale, count).tolist()
        yield from ((scale, 0.0, x, y) for x in places for y in places)
    yield from ((1.0, angle, 0.0, 0.0) for angle in (-5.0, 5.0))
    yield from ((1.0, 0.0, x, y) for x in (-0.1, 0.0, 0.1) for y in (-0.1, 0.0, 0.1) if x or y)
    yield 1.1, 0.0, 0.0, 0.0


POSES: Final = torch.tensor(list(_poses()))
"""Poses that candidates are found by, with shape `(p, 4)`: scale, rotation in degrees, and the centre's place in
[-1, 1] of the frame, in both directions. A crop to 80 % lies in the frame with a scale of 0.8."""


def turned(views: Tensor, poses: Tensor, rim: float) -> tuple[Tensor, Tensor]:
    """Lay pictures into the frame.

    Args:
        views: Pictures with shape `(n, 1, S, S)`.
        poses: Pose of each, with shape `(n, 4)`.
        rim: Pixels at a picture's border that count as outside: its relief there lacks its surroundings.

    Returns:
        What lies at each place of the frame, and whether the picture reaches there (0 or 1), both with shape
        `(n, S * S)`.
    """
    size = views.shape[-1]
    scale, angle, x, y = poses.unbind(1)
    cos, sin = torch.cos(angle * pi / 180) / scale, torch.sin(angle * pi / 180) / scale
    matrix = torch.stack(
        [torch.stack([cos, sin, -cos * x - sin * y], 1), torch.stack([-sin, cos, sin * x - cos * y], 1)], 1
    )
    grid = affine_grid(matrix, list(views.shape), align_corners=False)
    inside = (grid.abs() <= 1 - rim / size).all(dim=-1).float()
    laid = grid_sample(views, grid, padding_mode="border", align_corners=False)
    return laid.flatten(1), inside.flatten(1)


def halves(size: int) -> Tensor:
    """Return the left, right, upper and lower half of a frame (0 or 1), with shape `(4, size * size)`."""
    first = (torch.arange(size) < size // 2).float()
    upper, left = first[:, None].expand(size, size), first[None].expand(size, size)
    return torch.stack([left, 1 - left, upper, 1 - upper]).flatten(1)
