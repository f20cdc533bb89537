"""Table (csv, Markdown, HTML), trade-off plots, pictures and claims, from evidence."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageFilter

from memcontrol.compare.claims import Claim
from memcontrol.compare.methods import unmitigated
from memcontrol.compare.options import CompareOptions
from memcontrol.compare.rows import Row, table_of
from memcontrol.compare.searches import SearchedFront
from memcontrol.figures import png
from memcontrol.rewards.functional.intervals import Z95
from memcontrol.rewards.objective import reward_of

__all__ = ["write_report"]

STYLE = (Path(__file__).parent.parent / "assets" / "report.css").read_text()


def write_report(
    rows: Sequence[Row], claims: Sequence[Claim], fronts: Sequence[SearchedFront], options: CompareOptions, folder: Path
) -> Path:
    """Write `table.csv`, `table.md`, `claims.md`, `tradeoff.png`, `validation.png`, `grid.png` and `report.html`."""
    folder.mkdir(parents=True, exist_ok=True)
    table = table_of(rows)
    table.to_csv(folder / "table.csv", index=False)
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
    pictures = {"tradeoff": png(_tradeoff(rows, options)), "validation": png(_validation(rows, fronts, options))}
    grid = _grid(rows, folder / "pictures", options.images)
    if grid is not None:
        pictures["grid"] = png(grid)
    for name, content in pictures.items():
        (folder / f"{name}.png").write_bytes(content)
    path = folder / "report.html"
    path.write_text(_page(table, said, pictures))
    return path


def _markdown(table: pd.DataFrame) -> str:
    header = "| " + " | ".join(table.columns) + " |\n|" + " --- |" * len(table.columns) + "\n"
    return header + "\n".join("| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)) + "\n"


def _page(table: pd.DataFrame, claims: pd.DataFrame, pictures: dict[str, bytes]) -> str:
    titles = {
        "tradeoff": "Trade-off on test patients",
        "validation": "What was chosen from, on validation patients",
        "grid": "Drawn for the same held-out captions",
    }
    shown = "".join(
        f'<h2>{title}</h2><img alt="{html.escape(title)}" '
        f'src="data:image/png;base64,{base64.b64encode(pictures[name]).decode()}">'
        for name, title in titles.items()
        if name in pictures
    )
    tables = "".join(
        f'<h2>{title}</h2><div class="scroll">{frame.to_html(index=False, border=0)}</div>'
        for title, frame in (("Claims", claims), ("Table", table))
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>Comparison</title><style>{STYLE}</style></head><body><h1>Comparison</h1>'
        f"<p>Figures are means over seeds ± half of their 95 % interval, whose unit is the patient.</p>"
        f"{tables}{shown}</body></html>"
    )


def _family(name: str) -> tuple[str, str]:
    """Return how a method is shown: its marker, and the group that it stands for in the legend."""
    suffix = name.rpartition("_")[2]
    if name == "base":
        return "s", "untouched base"
    if unmitigated(name):
        return "v", "with a mitigation"
    if suffix == "found":
        return "*", "found mask"
    if suffix.startswith("random"):
        return "x", "random masks of equal size"
    return "o", "all slots"


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 5))
    return figure, figure.subplots()


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _tradeoff(rows: Sequence[Row], options: CompareOptions) -> Figure:
    x, y = options.memorization, options.quality
    figure, axes = _canvas()
    seen: set[str] = set()
    shown = [row for row in rows if x in row.values and y in row.values]
    colors = mpl.colormaps["tab20"]
    for number, row in enumerate(shown):
        marker, group = _family(row.method)
        is_random = group.startswith("random")
        axes.errorbar(
            row.mean(x),
            row.mean(y),
            xerr=Z95 * row.errors[x],
            yerr=Z95 * row.errors[y],
            fmt=marker,
            markersize=13 if marker == "*" else 7,
            color="0.55" if is_random else colors(number % 20),
            elinewidth=0.8,
            capsize=2,
            zorder=2 if is_random else 3,
            label=group
            if is_random and group not in seen
            else (None if is_random else f"{row.method} ({_share(row)})"),
        )
        seen.add(group)
    axes.set(
        xlabel=f"{x} on test patients: memorization, lower is better",
        ylabel=f"{y}: distance to test patients, lower is better",
        title="Mean over seeds, 95 % intervals; share of the U-Net that is trained",
    )
    _legend(axes)
    return figure


def _share(row: Row) -> str:
    return f"{100 * row.share:.3g} %"


def _validation(rows: Sequence[Row], fronts: Sequence[SearchedFront], options: CompareOptions) -> Figure:
    x, y = options.memorization, options.quality
    figure, axes = _canvas()
    colors = mpl.colormaps["tab20"]
    for number, row in enumerate(row for row in rows if row.candidates):
        points = sorted((c["values"][x]["value"], c["values"][y]["value"]) for c in row.candidates)
        chosen = [
            (c["values"][x]["value"], c["values"][y]["value"])
            for c in row.candidates
            if (c["lr"], c["step"]) == (row.chosen["lr"], row.chosen["step"])
        ]
        axes.plot(*zip(*points, strict=True), "o-", color=colors(number % 20), lw=0.8, ms=4, label=row.method)
        axes.plot(*zip(*chosen, strict=True), "o", color=colors(number % 20), ms=10, mfc="none")
    for front, marker in zip(fronts, "*PX^v", strict=False):
        values = [[reward_of(v, rows[0].directions[n]) for v, n in zip(p, (x, y), strict=True)] for p in front.rewards]
        axes.plot(*zip(*values, strict=True), marker, color="black", ms=8, label=f"front of {front.name}")
    axes.set(
        xlabel=f"{x} on validation patients",
        ylabel=f"{y} to validation patients",
        title="Learning rates and steps of each method; circled: chosen",
    )
    _legend(axes)
    return figure


def _grid(rows: Sequence[Row], folder: Path, images: str) -> Figure | None:
    """Return what the methods drew for the same captions, first seed, a row each."""
    strips = {row.method: folder / f"{row.method}-seed{row.seeds[0]}.png" for row in rows}
    strips = {name: path for name, path in strips.items() if path.is_file()}
    if not strips or images == "none":
        return None
    figure = Figure(figsize=(6.5, 1.08 * len(strips)))
    axes = figure.subplots(len(strips), 1, squeeze=False)
    for axis, (name, path) in zip(axes[:, 0], strips.items(), strict=True):
        strip = Image.open(path)
        axis.imshow(strip.filter(ImageFilter.GaussianBlur(strip.height / 16)) if images == "blurred" else strip)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[])
        for side in axis.spines.values():
            side.set_visible(False)
    figure.subplots_adjust(hspace=0.02)
    return figure
