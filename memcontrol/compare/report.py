"""Table (csv, Markdown, HTML), trade-off plot and claims, from evidence alone."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from memcontrol.compare.claims import Claim, Row, table_of
from memcontrol.compare.options import CompareOptions

mpl.use("agg")
import matplotlib.pyplot as plt

__all__ = ["write_report"]

STYLE = (Path(__file__).parent.parent / "assets" / "report.css").read_text()


def write_report(rows: Sequence[Row], claims: Sequence[Claim], options: CompareOptions, folder: Path) -> Path:
    """Write `table.csv`, `table.md`, `tradeoff.png` and `report.html`."""
    table = table_of(rows)
    table.to_csv(folder / "table.csv", index=False)
    header = "| " + " | ".join(table.columns) + " |\n|" + " --- |" * len(table.columns) + "\n"
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    (folder / "table.md").write_text(header + "\n".join(lines) + "\n")
    plot = _tradeoff(rows, options)
    (folder / "tradeoff.png").write_bytes(plot)
    said = "".join(
        f"<tr><td>{c.number}</td><td>{html.escape(c.text)}</td><td>{html.escape(c.figure)}</td>"
        f"<td class=num>{'-' if c.adjusted is None else f'{c.adjusted:.2g}'}</td><td><b>{c.verdict}</b></td></tr>"
        for c in claims
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>Comparison</title><style>{STYLE}</style></head><body><h1>Comparison</h1>'
        '<h2>Claims</h2><div class="scroll"><table><tr><th>no.</th><th>claim</th><th>found</th><th>p (Holm)</th>'
        f"<th>verdict</th></tr>{said}</table></div><h2>Trade-off on test patients</h2>"
        f'<img alt="" src="data:image/png;base64,{base64.b64encode(plot).decode()}">'
        f'<h2>Table</h2><div class="scroll">{table.to_html(index=False, border=0)}</div></body></html>'
    )
    path = folder / "report.html"
    path.write_text(page)
    return path


def _tradeoff(rows: Sequence[Row], options: CompareOptions) -> bytes:
    x, y = options.memorization, options.quality
    figure, axes = plt.subplots(figsize=(6.5, 4.5))
    for row in rows:
        if x not in row.values or y not in row.values:
            continue
        axes.errorbar(
            row.values[x], row.values[y], xerr=1.96 * row.errors[x], yerr=1.96 * row.errors[y], fmt="o", capsize=2
        )
        label = f"{row.method} ({row.trained:,})"
        axes.annotate(label, (row.values[x], row.values[y]), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel=f"{x} (memorization)", ylabel=f"{y} (quality)", title="test patients, 95 %; trained parameters")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()
