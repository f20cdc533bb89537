"""Figures of a study, as PNG bytes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from memcontrol.reports.figures import png

__all__ = ["Estimate", "FrontMark", "front_plot", "importance_plot", "masks_plot", "parallel_plot", "volume_plot"]


class Estimate(Protocol):
    """A value with its interval."""

    @property
    def value(self) -> float:
        """The value."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def high(self) -> float:
        """Upper end."""


@dataclass(frozen=True)
class FrontMark:
    """A point of the front as it is plotted.

    Args:
        label: Trial and step.
        x: The first objective.
        y: The last objective.
        is_picked: Whether it is the picked one.
    """

    label: str
    x: Estimate
    y: Estimate
    is_picked: bool


def front_plot(
    validations: Sequence[tuple[float, float]],
    marks: Sequence[FrontMark],
    objectives: Sequence[str],
    is_rescored: bool,
) -> bytes:
    """Plot all validations, and the front with intervals and trial numbers (two objectives)."""
    figure, axes = plt.subplots(figsize=(6.5, 4.5))
    if validations:
        axes.scatter(*zip(*validations, strict=True), s=14, color="#aab7b8", label="validations of all trials")
    for mark in marks:
        colour = "#c0392b" if mark.is_picked else "#2c7fb8"
        spread = [[[v.value - v.low], [v.high - v.value]] for v in (mark.x, mark.y)]
        axes.errorbar(mark.x.value, mark.y.value, xerr=spread[0], yerr=spread[1], fmt="o", color=colour, capsize=2)
    again = " (scored again)" if is_rescored else ""
    axes.errorbar([], [], fmt="o", color="#2c7fb8", label=f"front{again}, trial@step, 95 %")
    axes.errorbar([], [], fmt="o", color="#c0392b", label="picked")
    axes.set(xlabel=objectives[0], ylabel=objectives[-1])
    _label(axes, [(mark.label, mark.x.value, mark.y.value) for mark in marks])
    axes.legend(frameon=False, fontsize=8)
    return png(figure)


def _label(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write names beside points, the loneliest first, where they cover no other name or point.

    Where that is far, a line leads to the point.
    """
    canvas = FigureCanvasAgg(axes.get_figure(root=True))
    canvas.draw()
    renderer = canvas.get_renderer()
    places = axes.transData.transform([point[1:] for point in points]) if points else np.zeros((0, 2))
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in places]
    gaps = [min((float(np.hypot(*(a - b))) for b in places if b is not a), default=0.0) for a in places]
    for number in np.argsort(gaps)[::-1]:
        text, x, y = points[number]
        for radius in (8, 16, 26, 38, 52, 70):
            for dx, dy in ((1, 1), (-1, -1), (1, -1), (-1, 1), (0, 1), (0, -1)):
                label = axes.annotate(
                    text, (x, y), xytext=(dx * radius, dy * radius), textcoords="offset points", fontsize=9,
                    ha={1: "left", 0: "center", -1: "right"}[dx], va="bottom" if dy > 0 else "top",
                    arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.6} if radius > 8 else None,
                )  # fmt: skip
                label.update_positions(renderer)
                box = Text.get_window_extent(label, renderer).expanded(1.05, 1.1)  # without its line
                if not any(box.overlaps(other) for other in taken):
                    break
                label.remove()
            else:
                continue
            taken.append(box)
            break


def volume_plot(volumes: Sequence[tuple[int, float]]) -> bytes:
    """Plot the hypervolume over trials, as a share of the last one."""
    figure, axes = plt.subplots(figsize=(5, 3))
    axes.step([n for n, _ in volumes], [v for _, v in volumes], where="post", marker="o", markersize=3)
    axes.set(xlabel="trial", ylabel="hypervolume / last", ylim=(0, 1.05))
    return png(figure)


def importance_plot(
    slots: Sequence[str], objectives: Sequence[str], changes: Sequence[tuple[np.ndarray, np.ndarray]]
) -> bytes:
    """Plot what turning each slot on changes of each reward, with two standard deviations.

    Args:
        slots: Names of the slots.
        objectives: Names of the rewards.
        changes: For each reward, mean and standard deviation of the change, each with shape `(slots,)`.
    """
    figure, panes = plt.subplots(
        1, len(objectives), figsize=(4.2 * len(objectives), 0.28 * len(slots) + 1), sharey=True
    )
    for pane, name, (mean, spread) in zip(np.atleast_1d(panes), objectives, changes, strict=True):
        pane.barh(range(len(slots)), mean, xerr=2 * spread, color="#2c7fb8", ecolor="#7f8c8d", height=0.6)
        pane.axvline(0, color="black", linewidth=0.8)
        pane.set(yticks=range(len(slots)), title=f"reward of {name}", xlabel="change when on (right is better)")
        pane.set_yticklabels([_short(slot) for slot in slots], fontsize=7)
        pane.invert_yaxis()
    return png(figure)


def masks_plot(labels: Sequence[str], bits: np.ndarray, slots: Sequence[str]) -> bytes:
    """Plot masks on the U-Net: one row per trial, one column per slot, from input to output."""
    figure, axes = plt.subplots(figsize=(0.42 * len(slots) + 1.5, 0.32 * len(labels) + 1.6))
    axes.imshow(bits, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    axes.set(yticks=range(len(labels)), xticks=range(len(slots)))
    axes.set_yticklabels(labels, fontsize=8)
    axes.set_xticklabels([_short(slot) for slot in slots], rotation=60, ha="right", fontsize=7)
    axes.set_xticks(np.arange(-0.5, len(slots)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(labels)), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    for side in _boundaries(slots):
        axes.axvline(side - 0.5, color="#c0392b", linewidth=1)
    return png(figure)


def parallel_plot(columns: Sequence[str], table: np.ndarray) -> bytes:
    """Plot each trial as a line through its columns, each scaled to [0, 1]; the colour is the last column's.

    Args:
        columns: Names of the columns.
        table: Numbers with shape `(trials, columns)`; not a number where a trial has none, which leaves a gap.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column that no trial has a number in
        low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
    scaled = (table - low) / (high - low + 1e-12)
    figure, axes = plt.subplots(figsize=(max(7, 0.6 * len(columns) + 1), 3.6))
    for line in scaled:
        colour = plt.get_cmap("viridis")(line[-1])
        axes.plot(range(len(columns)), line, color=colour, alpha=0.7, marker="o", markersize=3)
    axes.set(xticks=range(len(columns)), ylabel="scaled; colour: last reward", yticks=[0, 1])
    axes.set_xticklabels(columns, fontsize=8, rotation=40, ha="right")
    return png(figure)


def _short(slot: str) -> str:
    return slot.replace("_blocks", "").replace("attentions", "attn").replace("_block", "").replace("resnets", "res")


def _boundaries(slots: Sequence[str]) -> list[int]:
    sides = [slot.split("_")[0] for slot in slots]
    return [i for i in range(1, len(sides)) if sides[i] != sides[i - 1]]
