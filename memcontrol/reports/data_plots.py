"""Plots of a set of images, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from plotly.graph_objects import Bar, Figure, Scatter

from memcontrol.reports.colours import CHOSEN, DRAWN, HELD_OUT
from memcontrol.reports.plots import Plot, laid_out

__all__ = ["counts_plot", "power_plot"]


def counts_plot(name: str, title: str, values: Sequence[int], x: str, y: str, note: str = "") -> Plot:
    """Plot how often each whole number occurs."""
    counts = sorted(Counter(values).items())
    bars = Bar(
        x=[value for value, _ in counts],
        y=[count for _, count in counts],
        marker_color=HELD_OUT,
        hovertemplate=f"%{{x}} {x}: %{{y}} {y}<extra></extra>",
    )
    figure = laid_out(Figure(bars), x, y, 280, showlegend=False)
    words = f"{y} by {x}: from {counts[0][0]} to {counts[-1][0]}"
    return Plot(name, title, words, figure, note)


def power_plot(heldout: Sequence[int], areas: Sequence[float], shares: Sequence[float], now: int) -> Plot:
    """Plot the smallest leak that an audit finds over the number of held-out patients.

    Args:
        heldout: Numbers of held-out patients.
        areas: Smallest AUC of membership that is found with each, in [0.5, 1].
        shares: Smallest share of copies among drawn pictures, in [0, 1]; not a number where none would be found.
        now: How many are held out.
    """
    figure = Figure()
    for name, values, colour, axis in (
        ("membership (AUC)", areas, HELD_OUT, "y"),
        ("copies (share of pictures)", shares, DRAWN, "y2"),
    ):
        figure.add_trace(
            Scatter(
                name=name, x=list(heldout), y=list(values), mode="lines+markers", line={"color": colour}, yaxis=axis,
                hovertemplate="%{x} held-out patients: from %{y:.2g}<extra></extra>",
            )
        )  # fmt: skip
    laid_out(figure, "held-out patients (test split)", "smallest AUC found", 340)
    second = {"title": "smallest share found", "overlaying": "y", "side": "right", "showgrid": False, "range": [0, 1]}
    figure.update_layout(yaxis2=second, yaxis_range=[0.5, 1], margin_r=60)
    figure.update_xaxes(type="log")
    line = {"color": CHOSEN, "dash": "dot"}
    figure.add_trace(Scatter(name="now", x=[now, now], y=[0.5, 1], mode="lines", line=line, hoverinfo="skip"))
    words = "The smallest leak that an audit finds, over the number of held-out patients; lower is better"
    note = (
        "With a probability of 80 %; the training patients as many as now. More held-out patients show smaller leaks."
    )
    return Plot("power", "What an audit will be able to find", words, figure, note)
