"""A run's `rewards.jsonl`: one line per scored validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memcontrol.files.atomic import finite
from memcontrol.files.run_folder import REWARDS
from memcontrol.measures.measurement import Measurement

__all__ = ["Scored", "append_score", "read_scores"]


@dataclass(frozen=True)
class Scored:
    """A scored validation.

    Args:
        step: Optimizer steps; 0 for the untouched base.
        measurements: What was measured.
        scale: How far from the base to what was trained the scored model had gone, in [0, 1].
    """

    step: int
    measurements: tuple[Measurement, ...]
    scale: float = 1.0


def append_score(run: Path, step: int, measurements: Sequence[Measurement], about: dict[str, Any]) -> None:
    """Append a validation; a line that was torn by a kill is left behind.

    Args:
        run: Run folder; it is made.
        step: Optimizer steps.
        measurements: What was measured.
        about: What else a reader may want to know: mask, learning rate, names of rewards.
    """
    run.mkdir(parents=True, exist_ok=True)
    path = run / REWARDS
    is_torn = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")
    record = {"step": step, **about, "measures": [m.to_dict() for m in measurements]}
    with path.open("a") as file:
        file.write(("\n" if is_torn else "") + json.dumps(finite(record)) + "\n")


def read_scores(run: Path) -> list[Scored]:
    """Return the validations of a run folder in the order of writing; a torn line is left out."""
    path, found = run / REWARDS, []
    for line in path.read_text().splitlines() if path.is_file() else []:
        with suppress(ValueError):
            record = json.loads(line)
            measurements = tuple(Measurement.from_dict(values) for values in record["measures"])
            found.append(Scored(int(record["step"]), measurements, float(record.get("scale", 1.0))))
    return found
