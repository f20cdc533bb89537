"""Plots that a reader moves over, zooms and clicks: plotly's, drawn in the page without asking the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

__all__ = ["Plot", "as_json", "hover_text", "laid_out", "plain", "scripts"]

TEMPLATES: Final = Path(__file__).parent / "templates"
INK: Final = "#566573"
"""Colour of axes until the page's style, which knows light from dark, sets its own."""


@dataclass(frozen=True)
class Plot:
    """A plot of a page.

    Args:
        name: Name of its element, a word.
        title: Its heading.
        words: What it shows, for whoever does not see it.
        figure: The figure.
        note: What a reader should know.
    """

    name: str
    title: str
    words: str
    figure: Figure
    note: str = ""

    @property
    def data(self) -> Markup:
        """The figure as JSON that may stand in a page."""
        return as_json(json.loads(self.figure.to_json()))


def laid_out(figure: Figure, x: str = "", y: str = "", height: int = 420, **layout: Any) -> Figure:
    """Give a figure the looks that all share: nothing but axes, and colours from the page's style.

    Args:
        figure: The figure, which is changed.
        x: Title of the x axis.
        y: Title of the y axis.
        height: Height in pixels.
        layout: Further settings of plotly's layout.

    Returns:
        The figure.
    """
    x, y = plain(x), plain(y)
    axis = {"zeroline": False, "gridcolor": "rgba(128,128,128,.2)", "linecolor": INK, "automargin": True}
    figure.update_xaxes(title_text=x, **axis)
    figure.update_yaxes(title_text=y, **axis)
    return figure.update_layout(
        **{
            "template": "none",
            "height": height,
            "margin": {"l": 60, "r": 40, "t": 40, "b": 50},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
            "hoverlabel": {"align": "left"},
            "modebar": {"orientation": "v", "bgcolor": "rgba(0,0,0,0)", "color": INK},
            **layout,
        }
    )


def plain(text: str) -> str:
    """Return a text for plotly, which would take its marks for bold letters and links."""
    return escape(text, quote=False)


def hover_text(lines: Sequence[str]) -> str:
    """Return lines as plotly shows them when a reader moves over a mark."""
    return "<br>".join(map(plain, lines))


def as_json(values: Any) -> Markup:
    """Return values as JSON that may stand between `<script>` and `</script>`: no text in it can end the element."""
    text = json.dumps(values, ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


@cache
def scripts(has_plots: bool) -> tuple[tuple[Markup, str], ...]:
    """Return the scripts of a page, each with the digest that lets the browser run it and no other.

    Args:
        has_plots: Whether the page holds plots, which need plotly (4.8 MB); without, tables are sorted and no more.
    """
    texts = [get_plotlyjs()] if has_plots else []
    texts.append((TEMPLATES / "report.js").read_text())
    return tuple((Markup(text), _digest(text)) for text in texts)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
