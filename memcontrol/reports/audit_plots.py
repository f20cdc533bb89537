"""Plots of an audit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from plotly.graph_objects import Bar, Figure, Scatter
from torch import Tensor

from memcontrol.reports.colours import DRAWN, HELD_OUT, OTHERS
from memcontrol.reports.plots import Plot, laid_out, plain

__all__ = ["distance_plot", "roc_plot"]

BINS = 40
LINES = ("solid", "dash", "dot", "dashdot")


def distance_plot(name: str, drawn: Tensor, heldout: Tensor, threshold: float) -> Plot:
    """Plot how near drawn and held-out images come to training images.

    Args:
        name: Name of the plot.
        drawn: Similarities of drawn pictures to their nearest training image, with shape `(n,)`.
        heldout: The same of held-out images, with shape `(k,)`.
        threshold: From which similarity on a picture counts as a copy; not finite where there is none.
    """
    distances = {"held-out patients (yardstick)": 1 - heldout.numpy(), "drawn pictures": 1 - drawn.numpy()}
    edges = np.linspace(0, max(1e-3, max(float(values.max(initial=0)) for values in distances.values())), BINS + 1)
    figure = Figure()
    for (label, values), colour in zip(distances.items(), (HELD_OUT, DRAWN), strict=True):
        counts, _ = np.histogram(values, edges)
        figure.add_trace(
            Bar(
                name=label,
                x=(edges[:-1] + edges[1:]) / 2,
                y=counts / max(1, len(values)),
                customdata=counts,
                width=edges[1] - edges[0],
                opacity=0.6,
                marker_color=colour,
                hovertemplate="distance %{x:.3f}: %{customdata} (%{y:.1%})<extra></extra>",
            )
        )
    laid_out(figure, "distance to the nearest training image (0: a copy)", "share", 320, barmode="overlay")
    if np.isfinite(threshold):
        figure.add_vline(
            1 - threshold, line_dash="dash", line_color=OTHERS, annotation_text="a copy left of this",
            annotation_position="top right",
        )  # fmt: skip
    figure.update_yaxes(tickformat=".0%")
    beyond = int((drawn > threshold).sum())
    words = f"Distances of drawn and held-out pictures to training images; {beyond} drawn ones lie beyond the threshold"
    return Plot(name, "Distances to training images", words, figure)


def roc_plot(name: str, scores: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Plot:
    """Plot ROC curves on logarithmic axes, where few false alarms are to be seen (Carlini et al., 2022, section IV).

    Args:
        name: Name of the plot.
        scores: Scores of members and of others by attack, higher for members; the axes end at one image of either.
    """
    figure = Figure()
    for number, (label, (members, others)) in enumerate(scores.items()):
        thresholds = np.unique(np.concatenate([members, others]))[::-1]
        fpr, tpr = (1 - np.searchsorted(np.sort(v), thresholds) / len(v) for v in (others, members))
        figure.add_trace(
            Scatter(
                name=plain(label),
                x=[0.0, *fpr],
                y=[0.0, *tpr],
                mode="lines",
                line={"shape": "hv", "dash": LINES[number % len(LINES)]},
                hovertemplate="%{y:.1%} of members found at %{x:.1%} false alarms<extra>" + plain(label) + "</extra>",
            )
        )
    least = [1 / max(len(side) for side in sides) for sides in zip(*scores.values(), strict=True)]
    ends = [min(least), 1.0]
    figure.add_trace(
        Scatter(name="chance", x=ends, y=ends, mode="lines", line={"dash": "dot", "color": OTHERS}, hoverinfo="skip")
    )
    laid_out(figure, "held-out images taken for members", "members found", 460)
    figure.update_xaxes(type="log", range=[np.log10(0.9 * least[1]), 0], tickformat=".2~%", dtick=1)
    figure.update_yaxes(type="log", range=[np.log10(0.9 * least[0]), 0.04], tickformat=".2~%", dtick=1)
    words = "Members found against false alarms of each membership attack; the dotted diagonal is chance"
    return Plot(name, "Membership attacks", words, figure)
