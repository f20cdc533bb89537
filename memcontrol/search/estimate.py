"""What a study will still take, said as soon as its first trial has shown it, where no rehearsal has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["estimate", "size_of", "spoken"]

HIDDEN = ("total",)
"""What the other parts add up to."""


def estimate(seconds: Mapping[str, float], folder: Path, left: int, workers: int) -> str:
    """Return a sentence on the time and the disk that the rest of a study takes.

    Args:
        seconds: Time of a trial, by what it was spent on, with its `total`.
        folder: The trial's folder.
        left: Trials that are still to be run.
        workers: Trials at once.

    Example:
        >>> estimate({"total": 90.0, "training": 60.0, "scoring": 20.0}, Path("/nowhere"), 59, 4)
        'A trial takes 90 s (60 s training, 20 s scoring): about 22 min for the other 59 on 4 workers, and 0.00 GiB'
    """
    total = seconds.get("total", 0.0)
    parts = sorted(((v, k) for k, v in seconds.items() if k not in HIDDEN and v >= 0.5), reverse=True)
    spent = ", ".join(f"{value:.0f} s {name}" for value, name in parts)
    size = size_of(folder)
    return (
        f"A trial takes {total:.0f} s"
        + (f" ({spent})" if spent else "")
        + f": about {spoken(total * left / workers)} for "
        f"the other {left} on {workers} workers, and {size * left / 2**30:.2f} GiB"
    )


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def spoken(seconds: float) -> str:
    """Return a time as one would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.{1 if seconds < 600 else 0}f} min"
    return f"{seconds / 3600:.1f} h"
