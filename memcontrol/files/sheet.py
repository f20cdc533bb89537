"""Tables for people: a spreadsheet that opens them computes nothing that a cell says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pandas as pd

__all__ = ["write_sheet"]

FORMULA: Final = re.compile(r"[=+\-@\t\r]")
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")


def write_sheet(table: pd.DataFrame, path: Path | Any) -> None:
    """Write a CSV file for people; a text that a spreadsheet would take for a formula gets a `'` before it.

    Args:
        table: The table.
        path: Path, or an open file.
    """
    harmless = table.map(_harmless).rename(columns=_harmless)
    harmless.to_csv(path, index=False)


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str) or not FORMULA.match(cell) or NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"
