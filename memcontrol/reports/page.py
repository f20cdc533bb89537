"""One HTML page for every report: it opens offline, escapes whatever it is given, and loads nothing from outside.

The browser runs our scripts alone, which it knows by their digests, and is forbidden to ask the network for anything.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from memcontrol.files.atomic import write_text
from memcontrol.reports.plots import scripts

__all__ = ["data_url", "write_page"]

TEMPLATES = Path(__file__).parent / "templates"


def _with_code(text: str) -> Markup:
    """Return a text with what stands between backticks set as code; all of it is escaped."""
    parts = str(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)
    )


_environment = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


_environment.filters["code"] = _with_code


def write_page(path: Path, template: str, *, has_plots: bool = False, **values: Any) -> Path:
    """Fill a template that extends `page.html` and write it whole: a half-written page is never seen.

    Args:
        path: The file.
        template: Name of a file in `templates/`.
        has_plots: Whether it holds plots.
        values: What it is filled with; all texts are escaped.

    Returns:
        The file.
    """
    style = (TEMPLATES / "report.css").read_text()
    texts, digests = zip(*scripts(has_plots), strict=True)
    page = _environment.get_template(template).render(style=style, scripts=texts, allowed=" ".join(digests), **values)
    write_text(path, page)
    return path


def data_url(png: bytes) -> str:
    """Return a PNG file as the source of an image."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
