"""A run's `rewards.jsonl`: one line per scored validation."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["REWARDS_FILE", "read_scored"]

REWARDS_FILE = "rewards.jsonl"


def read_scored(run: Path) -> list[dict[str, Any]]:
    """Return the records of a run folder in the order of writing; a line that was torn by a kill is left out."""
    path, found = run / REWARDS_FILE, []
    for line in path.read_text().splitlines() if path.is_file() else []:
        with suppress(ValueError):
            found.append(json.loads(line))
    return found
