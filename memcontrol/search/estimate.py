"""What a study will still take, said as soon as its first trial has shown it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["estimate"]

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
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return (
        f"A trial takes {total:.0f} s"
        + (f" ({spent})" if spent else "")
        + f": about {_time(total * left / workers)} for "
        f"the other {left} on {workers} workers, and {size * left / 2**30:.2f} GiB"
    )


def _time(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h"
