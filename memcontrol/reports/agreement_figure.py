"""How alike models are ranked with fewer sampler steps, as PNG bytes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from memcontrol.reports.figures import png

__all__ = ["agreement_figure"]


def agreement_figure(found: pd.DataFrame, reference: int) -> bytes:
    """Plot the correlations of each measure that ranks at all, with intervals, as PNG bytes."""
    found = found.dropna(subset=["rho"])
    names = list(dict.fromkeys(found["measure"]))
    numbers = sorted(set(found["steps"]))
    figure = Figure(figsize=(6.5, 1.2 + 0.45 * len(names)))
    axes = figure.add_subplot()
    for i, number in enumerate(numbers):
        part = found[found["steps"] == number].set_index("measure").reindex(names)
        y = np.arange(len(names)) + 0.5 * (i / max(1, len(numbers) - 1) - 0.5)
        spread = np.vstack([part["rho"] - part["low"], part["high"] - part["rho"]]).clip(min=0)
        label = f"{number} steps" if number != reference else f"{number} steps, other pictures"
        axes.errorbar(part["rho"], y, xerr=spread, fmt="o", markersize=4, capsize=2, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="#aab7b8", linewidth=0.8)
    axes.hlines(np.arange(len(names) - 1) + 0.5, -1, 1, color="#e5e8e8", linewidth=0.8, zorder=0)
    axes.set_xlabel(f"rank correlation with {reference} steps over models (95 %)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return png(figure)
