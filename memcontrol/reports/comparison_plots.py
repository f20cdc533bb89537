"""Plots of a comparison's page; `comparison_figures` draws the same for papers, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plotly.graph_objects import Figure, Scatter

from memcontrol.reports.colours import OTHERS, method_colour
from memcontrol.reports.comparison_figures import XY, MethodMark, TuningLine
from memcontrol.reports.plots import Plot, hover_text, laid_out, plain

__all__ = ["methods_plot", "tuning_plot"]

SYMBOLS = {
    "s": "square", "v": "triangle-down", "*": "star", "x": "x", "o": "circle", "D": "diamond", "^": "triangle-up",
    "P": "cross", "h": "hexagon",
}  # fmt: skip
"""Markers of plotly, by matplotlib's."""


def methods_plot(marks: Sequence[MethodMark], x: str, y: str) -> Plot:
    """Plot methods on test patients."""
    figure = Figure()
    for mark in marks:
        colour = OTHERS if mark.is_minor else method_colour(mark.label or "")
        about = [
            mark.label or "a random mask",
            f"{x} {mark.at[0]:.4g} ± {mark.reach[0]:.2g}",
            f"{y} {mark.at[1]:.4g} ± {mark.reach[1]:.2g}",
        ]
        figure.add_trace(
            Scatter(
                name=None if mark.label is None else plain(mark.label),
                showlegend=mark.label is not None,
                x=[mark.at[0]],
                y=[mark.at[1]],
                mode="markers",
                marker={"color": colour, "symbol": SYMBOLS[mark.marker], "size": 15 if mark.marker == "*" else 10},
                error_x={"type": "data", "array": [mark.reach[0]], "thickness": 1, "width": 3},
                error_y={"type": "data", "array": [mark.reach[1]], "thickness": 1, "width": 3},
                text=[hover_text(about)],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    titles = f"{x}: memorization, lower is better", f"{y}: distance to test patients, lower is better"
    laid_out(figure, *titles, 560, hovermode="closest")
    words = f"{len(marks)} methods on test patients by {x} and {y}"
    note = (
        "Mean over seeds, 95 % intervals; in brackets the share of the U-Net that is trained. Click a name to hide it."
    )
    return Plot("tradeoff", "Trade-off on test patients", words, figure, note)


def tuning_plot(lines: Sequence[TuningLine], fronts: Mapping[str, Sequence[XY]], x: str, y: str) -> Plot:
    """Plot what methods were chosen from, and fronts of searches, on validation patients."""
    figure = Figure()
    at_values = f"<br>{plain(x)} %{{x:.4g}}<br>{plain(y)} %{{y:.4g}}<extra></extra>"
    for line in lines:
        at = [point in line.chosen for point in line.points]
        figure.add_trace(
            Scatter(
                name=plain(line.label),
                x=[point[0] for point in line.points],
                y=[point[1] for point in line.points],
                mode="lines+markers",
                line={"color": method_colour(line.label), "width": 1},
                marker={
                    "size": [13 if is_chosen else 6 for is_chosen in at],
                    "symbol": ["circle-dot" if is_chosen else "circle" for is_chosen in at],
                },
                hovertemplate=hover_text([line.label]) + at_values,
            )
        )
    for (name, points), symbol in zip(fronts.items(), ("star", "diamond", "cross", "triangle-up"), strict=False):
        figure.add_trace(
            Scatter(
                name=plain(f"front of {name}"),
                x=[point[0] for point in points],
                y=[point[1] for point in points],
                mode="markers",
                marker={"color": method_colour(name), "symbol": symbol, "size": 11},
            )
        )
    laid_out(figure, f"{x} on validation patients", f"{y} to validation patients", 560, hovermode="closest")
    words = f"Validations of {len(lines)} methods by {x} and {y}"
    note = "Learning rates and steps of each method; large: chosen."
    return Plot("validation", "What was chosen from, on validation patients", words, figure, note)
