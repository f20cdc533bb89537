"""Height and width of pictures: one number for a square, two for pictures of another shape."""

from __future__ import annotations

from typing import Any, TypeAlias

from memcontrol.errors import MemControlError
from memcontrol.ranges import is_in_range

__all__ = ["SIDE", "Size", "check_size", "height_and_width", "is_size", "size_of"]

Size: TypeAlias = int | tuple[int, int]
SIDE = "[8, 8192]"
"""Range of a side, in pixels."""


def height_and_width(size: Size) -> tuple[int, int]:
    """Return both sides of a size.

    Example:
        >>> height_and_width(512), height_and_width((640, 512))
        ((512, 512), (640, 512))
    """
    return (size, size) if isinstance(size, int) else size


def size_of(height: int, width: int) -> Size:
    """Return the size with these sides; of a square it is one number."""
    return height if height == width else (height, width)


def check_size(kind: type[MemControlError], name: str, size: Any) -> Size:
    """Return a size that a user gave, or refuse it.

    Args:
        kind: Error that is raised.
        name: What the argument is called.
        size: What was given: a number, or height and width.

    Raises:
        MemControlError: Of that kind, if a side is no multiple of 8 in the range of sides.
    """
    if not is_size(size):
        raise kind(
            f"Argument `{name}` must be a multiple of 8 in {SIDE}, or two of them, height and width, but got {size}."
        )
    return size if isinstance(size, int) else size_of(*size)


def is_size(size: Any) -> bool:
    """Whether something is a size: a multiple of 8 in the range of sides, or two of them, height and width."""
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    return len(sides) == 2 and whole and all(is_in_range(side, SIDE) and side % 8 == 0 for side in sides)
