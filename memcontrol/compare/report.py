"""Table (csv, Markdown, HTML), trade-off plots, pictures and claims, from evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from memcontrol.compare.cells import REAL
from memcontrol.compare.claims import Claim
from memcontrol.compare.methods import BASE, FULL
from memcontrol.compare.options import CompareOptions
from memcontrol.compare.rows import Row, smallest_shown, table_of
from memcontrol.compare.searches import SearchedFront
from memcontrol.files.sheet import write_sheet
from memcontrol.measures.statistics.objective import reward_of
from memcontrol.reports.colours import method_colour
from memcontrol.reports.comparison_figures import (
    XY,
    MethodMark,
    TuningLine,
    grid_plot,
    tradeoff_plot,
    validation_plot,
)
from memcontrol.reports.comparison_plots import methods_plot, tuning_plot
from memcontrol.reports.page import data_url, write_page

__all__ = ["write_report"]


PLAIN = "oD^Ph"
"""Markers of methods as they come: those that share a colour have one each."""


def write_report(
    rows: Sequence[Row], claims: Sequence[Claim], fronts: Sequence[SearchedFront], options: CompareOptions, folder: Path
) -> Path:
    """Write `table.csv`, `table.md`, `claims.md`, `power.md`, plots and `report.html`."""
    folder.mkdir(parents=True, exist_ok=True)
    table = table_of(rows)
    write_sheet(table, folder / "table.csv")
    (folder / "table.md").write_text(_markdown(table))
    said = pd.DataFrame(
        {
            "no.": [c.number for c in claims],
            "claim": [c.text for c in claims],
            "found": [c.figure for c in claims],
            "p (Holm)": ["-" if c.adjusted is None else f"{c.adjusted:.2g}" for c in claims],
            "verdict": [c.verdict for c in claims],
        }
    )
    (folder / "claims.md").write_text(_markdown(said))
    power = _power(rows, options)
    (folder / "power.md").write_text(_markdown(power))
    axes = options.memorization, options.quality
    marks, tuning = _marks(rows, options), _tuning(rows, fronts, options)
    pictures = {
        "tradeoff": tradeoff_plot(marks, *axes),
        "validation": validation_plot(*tuning, *axes),
        "grid": _grid(rows, folder / "pictures", options.images),
    }
    for name, content in pictures.items():
        if content is not None:
            (folder / f"{name}.png").write_bytes(content)
    return write_page(
        folder / "report.html",
        "comparison.html",
        has_plots=True,
        title="Comparison",
        plots=[methods_plot(marks, *axes), tuning_plot(*tuning, *axes)],
        grid=None if pictures["grid"] is None else data_url(pictures["grid"]),
        tables=[_part("Claims", said), _part("Smallest differences that would be seen", power), _part("Table", table)],
    )


def _part(title: str, frame: pd.DataFrame) -> dict[str, object]:
    return {"title": title, "columns": list(frame.columns), "rows": list(frame.itertuples(index=False))}


def _markdown(table: pd.DataFrame) -> str:
    header = "| " + " | ".join(table.columns) + " |\n|" + " --- |" * len(table.columns) + "\n"
    return header + "\n".join("| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)) + "\n"


def _power(rows: Sequence[Row], options: CompareOptions) -> pd.DataFrame:
    """Return the smallest difference of each row to full fine-tuning (or the first row) that tests would show."""
    others = [row for row in rows if row.method not in (BASE, FULL)]
    rival = next((row for row in rows if row.method == FULL), rows[0])
    names = [n for n in dict.fromkeys([options.memorization, options.quality, *options.attacks]) if n in rival.values]
    found = {
        name: [smallest_shown(row, rival, name) for row in others if name in row.values and row is not rival]
        for name in names
    }
    seen = {name: np.array(values)[np.isfinite(values)] for name, values in found.items()}
    return pd.DataFrame(
        {
            "measure": list(seen),
            f"smallest difference to {rival.method} seen at 5 % in four of five cases, median": [
                f"{np.median(values):.2g}" if len(values) else "-" for values in seen.values()
            ],
            "smallest": [f"{values.min():.2g}" if len(values) else "-" for values in seen.values()],
            "largest": [f"{values.max():.2g}" if len(values) else "-" for values in seen.values()],
        }
    )


def _family(row: Row) -> tuple[str, str]:
    """Return how a method is shown: its marker, and the group that it stands for in the legend."""
    suffix = row.method.rpartition("_")[2]
    if row.method == "base":
        return "s", "untouched base"
    if row.mitigates is not None:
        return "v", "with a mitigation"
    if suffix == "found":
        return "*", "found mask"
    if suffix.startswith("random"):
        return "x", "random masks of equal size"
    return PLAIN[0], "all slots"


def _marks(rows: Sequence[Row], options: CompareOptions) -> list[MethodMark]:
    """Return the methods as they are plotted."""
    x, y = options.memorization, options.quality
    marks: list[MethodMark] = []
    seen: set[str] = set()
    alike: Counter[str] = Counter()
    for row in rows:
        if x not in row.values or y not in row.values:
            continue
        marker, group = _family(row)
        if marker == PLAIN[0]:
            colour = method_colour(row.method)
            marker = PLAIN[alike[colour] % len(PLAIN)]
            alike[colour] += 1
        is_minor = group.startswith("random")
        label = None if group in seen else group
        seen |= {group} if is_minor else set()
        reach = row.reach(x), row.reach(y)
        named = label if is_minor else f"{row.method} ({100 * row.share:.3g} %)"
        marks.append(MethodMark(named, marker, (row.mean(x), row.mean(y)), reach, is_minor))
    return marks


def _tuning(
    rows: Sequence[Row], fronts: Sequence[SearchedFront], options: CompareOptions
) -> tuple[list[TuningLine], dict[str, list[XY]]]:
    """Return what methods were chosen from, and the fronts of searches, as they are plotted."""
    names = (options.memorization, options.quality)
    lines = []
    for row in rows:
        at = {
            (c.lr, c.point.step): (c.point.measures[names[0]].value, c.point.measures[names[1]].value)
            for c in row.candidates
        }
        if at:
            lines.append(TuningLine(row.method, sorted(at.values()), [at[row.chosen["lr"], int(row.chosen["step"])]]))
    directions = rows[0].directions
    shown = {
        front.name: [
            (reward_of(point[0], directions[names[0]]), reward_of(point[1], directions[names[1]]))
            for point in front.rewards
        ]
        for front in fronts
    }
    return lines, shown


def _grid(rows: Sequence[Row], folder: Path, images: str) -> bytes | None:
    """Return what the methods gave for the same captions, first seed, a row each."""
    names = [*([REAL] if images == "full" else []), *(row.method for row in rows)]
    strips = {name: folder / f"{name}-seed{rows[0].seeds[0]}.png" for name in names}
    strips = {name: path for name, path in strips.items() if path.is_file()}
    return None if not strips or images == "none" else grid_plot(strips, images == "blurred")
