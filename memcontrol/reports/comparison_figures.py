"""Figures of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageFilter

from memcontrol.reports.colours import OTHERS, method_colour
from memcontrol.reports.figures import png

__all__ = ["XY", "MethodMark", "TuningLine", "grid_plot", "tradeoff_plot", "validation_plot"]

XY = tuple[float, float]
"""Memorization and quality."""


@dataclass(frozen=True)
class MethodMark:
    """A method as it is plotted.

    Args:
        label: What the legend calls it, or None where it belongs to a group that is named already.
        marker: Marker of matplotlib.
        at: Memorization and quality.
        reach: Half of their 95 % intervals.
        is_minor: Whether it is one of many alike: grey, and behind the others.
    """

    label: str | None
    marker: str
    at: XY
    reach: XY
    is_minor: bool = False


@dataclass(frozen=True)
class TuningLine:
    """What a method was chosen from.

    Args:
        label: The method.
        points: Its validations, in order of memorization.
        chosen: Those that were chosen.
    """

    label: str
    points: Sequence[XY]
    chosen: Sequence[XY]


def tradeoff_plot(marks: Sequence[MethodMark], x: str, y: str) -> bytes:
    """Plot methods on test patients."""
    figure, axes = _canvas()
    for mark in marks:
        axes.errorbar(
            *mark.at,
            xerr=mark.reach[0],
            yerr=mark.reach[1],
            fmt=mark.marker,
            markersize=13 if mark.marker == "*" else 7,
            color=OTHERS if mark.is_minor else method_colour(mark.label or ""),
            elinewidth=0.8,
            capsize=2,
            zorder=2 if mark.is_minor else 3,
            label=mark.label,
        )
    axes.set(
        xlabel=f"{x} on test patients: memorization, lower is better",
        ylabel=f"{y}: distance to test patients, lower is better",
        title="Mean over seeds, 95 % intervals; share of the U-Net that is trained",
    )
    _legend(axes)
    return png(figure)


def validation_plot(lines: Sequence[TuningLine], fronts: Mapping[str, Sequence[XY]], x: str, y: str) -> bytes:
    """Plot what methods were chosen from, and fronts of searches, on validation patients."""
    figure, axes = _canvas()
    for line in lines:
        color = method_colour(line.label)
        axes.plot(*zip(*line.points, strict=True), "o-", color=color, lw=0.8, ms=4, label=line.label)
        axes.plot(*zip(*line.chosen, strict=True), "o", color=color, ms=10, mfc="none")
    for (name, points), marker in zip(fronts.items(), "*PX^v", strict=False):
        axes.plot(*zip(*points, strict=True), marker, color="black", ms=8, label=f"front of {name}")
    axes.set(
        xlabel=f"{x} on validation patients",
        ylabel=f"{y} to validation patients",
        title="Learning rates and steps of each method; circled: chosen",
    )
    _legend(axes)
    return png(figure)


def grid_plot(strips: Mapping[str, Path], blurred: bool) -> bytes:
    """Show what methods gave for the same captions, a row each."""
    figure = Figure(figsize=(6.5, 1.08 * len(strips)))
    axes = figure.subplots(len(strips), 1, squeeze=False)
    for axis, (name, path) in zip(axes[:, 0], strips.items(), strict=True):
        strip = Image.open(path)
        axis.imshow(strip.filter(ImageFilter.GaussianBlur(strip.height / 16)) if blurred else strip)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axis.set(xticks=[], yticks=[])
        for side in axis.spines.values():
            side.set_visible(False)
    figure.subplots_adjust(hspace=0.02)
    return png(figure)


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 5))
    return figure, figure.subplots()


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
