"""Class paths that configs of older versions name, and where these classes are now.

A config, a run's `config.yaml` or a study's overlay of an older version means the same with them.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["DOOR", "new_name", "old_name"]

DOOR: Final = ("callbacks.", "memcontrol.callbacks.")
"""How users write our callbacks, and where they are; a name that is none of ours is the user's own."""
MOVED: Final = {
    "memcontrol.rewards.encoders.": "memcontrol.measures.encoders.",
    "memcontrol.rewards.metric.": "memcontrol.measures.metric.",
    "memcontrol.search.parsl.": "memcontrol.jobs.parsl.",
}
"""Beginnings of old class paths, and what stands in their place."""


def new_name(name: str) -> str:
    """Return where a class is now.

    Example:
        >>> new_name("memcontrol.rewards.encoders.LiteEncoder")
        'memcontrol.measures.encoders.LiteEncoder'
    """
    for old, new in MOVED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def old_name(name: Any) -> Any:
    """Return what a class was called in version 0.1; anything else as it is."""
    if isinstance(name, str):
        for old, new in (*MOVED.items(), DOOR):
            if name.startswith(new):
                return old + name.removeprefix(new)
    return name
