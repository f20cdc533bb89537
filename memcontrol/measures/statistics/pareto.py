"""Trade-offs between rewards: which points no other beats. All values are higher-is-better."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["dominates", "front"]


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Tell whether a is at least as good as b everywhere and better somewhere.

    Example:
        >>> dominates((1.0, 2.0), (1.0, 1.0)), dominates((1.0, 1.0), (1.0, 1.0))
        (True, False)
    """
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the numbers of the points that no other dominates, in order.

    Example:
        >>> front([(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
        [0, 1]
    """
    return [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]
