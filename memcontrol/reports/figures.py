"""What all figures share: no window is opened, and a figure becomes PNG bytes."""

from __future__ import annotations

import io

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("agg")
import matplotlib.pyplot as plt

__all__ = ["png"]


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()
