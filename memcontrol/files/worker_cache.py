"""What a worker keeps between jobs (bases, SVD factors, evidence of the base): off unless a worker switches it on."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

__all__ = ["cached", "clear", "drop", "enable", "holds"]

T = TypeVar("T")

_store: dict[Hashable, Any] = {}
_enabled = False


def enable() -> None:
    """Keep things from now on, in this process."""
    global _enabled
    _enabled = True


def clear() -> None:
    """Forget everything, for example after running out of memory."""
    _store.clear()


def holds(key: Hashable) -> bool:
    """Whether something is kept under a key."""
    return key in _store


def drop(key: Hashable) -> None:
    """Forget what is kept under a key, if anything is."""
    _store.pop(key, None)


def cached(key: Hashable, make: Callable[[], T]) -> T:
    """Return what is kept under a key; it is made the first time, and each time where nothing is kept."""
    if not _enabled:
        return make()
    if key not in _store:
        _store[key] = make()
    found: T = _store[key]
    return found
