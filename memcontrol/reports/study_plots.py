"""Plots of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from plotly.colors import sample_colorscale
from plotly.graph_objects import Bar, Figure, Heatmap, Scatter
from plotly.subplots import make_subplots

from memcontrol.reports.colours import CHOSEN, FRONT, OTHERS
from memcontrol.reports.plots import Plot, hover_text, laid_out, plain

__all__ = ["Mark", "cost_plot", "front_plot", "importance_plot", "masks_plot", "parallel_plot", "volume_plot"]

Ends = tuple[float, float, float]
"""A value with the ends of its interval."""


@dataclass(frozen=True)
class Mark:
    """A validation as it is plotted.

    Args:
        label: Trial and step.
        x: What lies on the x axis, with its interval.
        y: What lies on the y axis, with its interval.
        is_front: Whether no other point beats it.
        is_picked: Whether it is the picked one.
        about: What a reader sees who moves over it, in lines.
    """

    label: str
    x: Ends
    y: Ends
    is_front: bool
    is_picked: bool
    about: Sequence[str]


def front_plot(marks: Sequence[Mark], x: str, y: str, is_rescored: bool) -> Plot:
    """Plot all validations, and the front with intervals.

    The page's script knows the traces by their numbers, and each mark by its number in `marks`.

    Args:
        marks: The validations.
        x: What the x axis says: a measure, and which end is better.
        y: What the y axis says.
        is_rescored: Whether points of the front were scored again.
    """
    figure = Figure()
    again = " (scored again)" if is_rescored else ""
    picked = [n for n, mark in enumerate(marks) if mark.is_picked]
    rest = [n for n, mark in enumerate(marks) if mark.is_front and not mark.is_picked]
    behind = [n for n, mark in enumerate(marks) if not mark.is_front]
    for name, numbers, look, has_intervals in (
        ("validations of all trials", behind, {"color": OTHERS, "size": 6, "opacity": 0.6}, False),
        (f"front{again}, 95 %", rest, {"color": FRONT, "size": 10}, True),
        ("picked", picked, {"color": CHOSEN, "size": 16, "symbol": "star"}, True),
    ):
        figure.add_trace(
            Scatter(
                name=name,
                mode="markers",
                marker=look,
                x=[marks[n].x[0] for n in numbers],
                y=[marks[n].y[0] for n in numbers],
                error_x=_reach([marks[n].x for n in numbers]) if has_intervals else None,
                error_y=_reach([marks[n].y for n in numbers]) if has_intervals else None,
                customdata=numbers,
                text=[hover_text(marks[n].about) for n in numbers],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    ring = {"color": CHOSEN, "size": 22, "symbol": "circle-open", "line": {"width": 2}}
    figure.add_trace(Scatter(name="chosen here", mode="markers", marker=ring, x=[], y=[], hoverinfo="skip"))
    shown = next((mark.label for mark in marks if mark.is_picked), "none")
    words = f"{len(marks)} validations by {x} and {y}; {len(rest) + len(picked)} on the front; picked: {shown}"
    return Plot("front", "The front", words, laid_out(figure, x, y, 460, hovermode="closest"))


def _reach(values: Sequence[Ends]) -> dict[str, object]:
    """Return intervals as plotly's error bars."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, _, high in values],
        "arrayminus": [value - low for value, low, _ in values],
        "thickness": 1,
        "width": 3,
    }


def volume_plot(volumes: Sequence[tuple[int, float]]) -> Plot:
    """Plot the hypervolume over trials, as a share of the last one."""
    line = Scatter(
        x=[n for n, _ in volumes],
        y=[share for _, share in volumes],
        mode="lines+markers",
        line={"shape": "hv", "color": FRONT},
        hovertemplate="after trial %{x}: %{y:.3f}<extra></extra>",
    )
    figure = laid_out(Figure(line), "trial", "hypervolume / last", 300, showlegend=False)
    figure.update_yaxes(range=[0, 1.05])
    words = "What the front holds over trials, as a share of what it holds at the end"
    return Plot("volume", "Hypervolume over trials", words, figure, "Flat at the end: more trials would find little.")


def importance_plot(
    slots: Sequence[str], objectives: Sequence[str], changes: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Plot:
    """Plot what turning each slot on changes of each reward, with two standard deviations.

    Args:
        slots: Names of the slots.
        objectives: Names of the rewards.
        changes: For each reward, mean and standard deviation of the change, each with shape `(slots,)`.
    """
    figure = make_subplots(cols=len(objectives), shared_yaxes=True)
    for column, (mean, spread) in enumerate(changes, 1):
        bars = Bar(
            x=mean,
            y=[plain(slot) for slot in slots],
            orientation="h",
            marker_color=FRONT,
            error_x={"type": "data", "array": 2 * spread, "thickness": 1, "color": OTHERS},
            hovertemplate="%{y}: %{x:.3g}<extra></extra>",
        )
        figure.add_trace(bars, row=1, col=column)
    laid_out(figure, "", "", 140 + 20 * len(slots), showlegend=False)
    figure.update_yaxes(autorange="reversed", type="category", **_ticks(slots))
    for column, name in enumerate(objectives, 1):
        title = {"text": f"reward of<br>{plain(name)}<br>(right is better)", "font_size": 11}
        figure.update_xaxes(title=title, zeroline=True, zerolinecolor=OTHERS, nticks=4, col=column)
    words = f"What turning on each of {len(slots)} slots changes of {' and '.join(objectives)}"
    note = "By the model that proposes masks; bars are its mean, lines two standard deviations."
    return Plot("importance", "What each slot changes", words, figure, note)


def masks_plot(labels: Sequence[str], bits: np.ndarray, slots: Sequence[str]) -> Plot:
    """Plot masks on the U-Net: one row per trial, one column per slot, from input to output."""
    figure = Figure(
        Heatmap(
            z=bits,
            x=[plain(slot) for slot in slots],
            y=list(labels),
            xgap=2,
            ygap=2,
            showscale=False,
            colorscale=[[0, "rgba(128,128,128,.18)"], [1, FRONT]],
            zmin=0,
            zmax=max(1, int(bits.max(initial=1))),
            text=np.where(bits > 0, "on", "off"),
            hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
        )
    )
    laid_out(figure, "", "", 150 + 24 * len(labels))
    figure.update_xaxes(
        tickangle=50,
        type="category",
        showgrid=False,
        **_ticks(slots),
    )
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, tickvals=list(labels))
    words = f"Which of {len(slots)} slots are on in {len(labels)} trials of the front"
    return Plot("masks", "Masks of the front, from input to output", words, figure)


def parallel_plot(columns: Sequence[str], table: np.ndarray, trials: Sequence[int]) -> Plot:
    """Plot each trial as a line through its columns, each scaled to [0, 1]; the colour is the last column's.

    Args:
        columns: Names of the columns.
        table: Numbers with shape `(trials, columns)`; not a number where a trial has none, which leaves a gap.
        trials: Their numbers.
    """
    gaps = np.isnan(table)
    low, high = (f(np.where(gaps, fill, table), axis=0) for f, fill in ((np.min, np.inf), (np.max, -np.inf)))
    scaled = (table - low) / np.where(np.isfinite(high - low), high - low + 1e-12, 1.0)
    colours = sample_colorscale("viridis", [0.0 if np.isnan(v) else float(v) for v in scaled[:, -1]])
    figure = Figure()
    for number, line, values, colour in zip(trials, scaled, table, colours, strict=True):
        text = [hover_text([f"trial {number}", f"{c}: {v:.4g}"]) for c, v in zip(columns, values, strict=True)]
        figure.add_trace(
            Scatter(
                x=[plain(column) for column in columns],
                y=line,
                mode="lines+markers",
                line={"color": colour, "width": 1.5},
                opacity=0.75,
                text=text,
                customdata=[number] * len(columns),
                hovertemplate="%{text}<extra></extra>",
            )
        )
    laid_out(figure, "", "scaled; colour: last reward", 420, showlegend=False, hovermode="closest")
    figure.update_xaxes(tickangle=40, type="category")
    figure.update_yaxes(tickvals=[0, 1])
    words = f"{len(trials)} trials as lines through {len(columns)} parameters and rewards"
    return Plot("parallel", "Parallel coordinates", words, figure, "Click a line to see its trial.")


def cost_plot(seconds: Mapping[int, Mapping[str, float]]) -> Plot:
    """Plot what each trial spent its time on.

    Args:
        seconds: Seconds of each trial, by what they were spent on.
    """
    parts = list(dict.fromkeys(name for spent in seconds.values() for name in spent))
    colours = dict(zip(parts, ("#332288", "#56b4e9", "#44aa99", "#ddcc77", "#cc6677"), strict=False))
    figure = Figure()
    for part in parts:
        figure.add_trace(
            Bar(
                name=part,
                x=list(seconds),
                y=[spent.get(part, 0.0) for spent in seconds.values()],
                marker_color=colours.get(part, OTHERS),
                hovertemplate=f"trial %{{x}}: %{{y:.0f}} s {part}<extra></extra>",
            )
        )
    words = "Seconds of each trial, by what they were spent on"
    return Plot("cost", "What trials cost", words, laid_out(figure, "trial", "seconds", 300, barmode="stack"))


def _ticks(slots: Sequence[str]) -> dict[str, list[str]]:
    """Return what an axis of slots says, as far as it has room."""
    words = {"_blocks": "", "_block": "", "attentions": "attn", "resnets": "res", "samplers": ""}
    names = [plain(slot) for slot in slots]
    short = names
    for word, other in words.items():
        short = [name.replace(word, other) for name in short]
    return {"tickvals": names, "ticktext": short}
