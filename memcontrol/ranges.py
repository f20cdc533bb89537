"""Ranges of numbers that a user gives: one check, one message; a NaN is in no range."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from memcontrol.errors import MemControlError

__all__ = ["check_ranges", "is_in_range"]

RANGE: Final = re.compile(r"([\[(])(\S+), (\S+)([\])])")


def check_ranges(kind: type[MemControlError], group: str, options: Any, ranges: Mapping[str, str]) -> None:
    """Refuse numbers that are out of range; None is left alone.

    Args:
        kind: Error that is raised.
        group: What the options are called together on the command line; empty for none.
        options: An object or a mapping with the options; each is a number or a list of numbers.
        ranges: Range of each, such as `[0, 1)` or `(0, inf)`.

    Raises:
        MemControlError: Of that kind, with what is wrong, what it is, and what is allowed.

    Example:
        >>> check_ranges(MemControlError, "optimizer", {"lr": float("nan")}, {"lr": "(0, inf)"})
        Traceback (most recent call last):
        memcontrol.errors.MemControlError: Argument `optimizer.lr` must be in (0, inf), but got nan.
    """
    for name, allowed in ranges.items():
        value = options[name] if isinstance(options, Mapping) else getattr(options, name)
        items = value if isinstance(value, list | tuple) else [value]
        if not all(item is None or is_in_range(item, allowed) for item in items):
            shown = f"{group}.{name}" if group else name
            raise kind(f"Argument `{shown}` must be in {allowed}, but got {value}.")


def is_in_range(value: Any, allowed: str) -> bool:
    """Whether a number lies in a range such as `[0, 1)`."""
    if not isinstance(value, int | float):
        return False
    found = RANGE.fullmatch(allowed)
    assert found is not None, allowed
    low, high = float(found[2]), float(found[3])
    return (low <= value if found[1] == "[" else low < value) and (value <= high if found[4] == "]" else value < high)
