"""The report of a study: one HTML file that opens offline; it holds no picture, prompt or id."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path

from memcontrol.search.figures import front_plot, importance_plot, masks_plot, parallel_plot, volume_plot
from memcontrol.search.front import FrontPoint
from memcontrol.search.records import TrialRecord, TrialState
from memcontrol.search.results import front_table
from memcontrol.search.study import Study
from memcontrol.search.texts import without_paths

__all__ = ["write_report"]

STYLE = (Path(__file__).parent.parent / "assets" / "report.css").read_text()


def write_report(
    study: Study, records: Sequence[TrialRecord], points: Sequence[FrontPoint], best: FrontPoint | None
) -> Path:
    """Write `report.html`; a half-written one is never seen."""
    options = study.options
    slots, objectives = study.space.slots, options.objectives
    figures = {
        "The front": front_plot(records, points, objectives, best),
        "Masks of the front, from input to output (red: down, mid, up)": masks_plot(points, records, slots),
        "What each slot changes": importance_plot(records, slots, objectives),
        "Hypervolume over trials": volume_plot(records),
        "Parallel coordinates": parallel_plot(records, objectives),
    }
    drawn = "".join(f"<h2>{title}</h2>{_image(png)}" for title, png in figures.items() if png is not None)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>Study</title><style>{STYLE}</style></head><body><h1>Study</h1>'
        f"{_summary(study, records, best)}{_front(study, points, records)}{drawn}{_trials(study, records)}"
        "</body></html>"
    )
    path = study.folder / "report.html"
    partial = path.with_suffix(".part")
    partial.write_text(page)
    os.replace(partial, path)
    return path


def _summary(study: Study, records: Sequence[TrialRecord], best: FrontPoint | None) -> str:
    counts = {state: sum(r.state is state for r in records) for state in TrialState}
    said = ", ".join(f"{count} {state.lower()}" for state, count in counts.items() if count)
    parts = ("total", "training", "sampling", "scoring", "validation")
    spent = {name: sum(r.seconds.get(name, 0.0) for r in records) for name in parts}
    spent["other"] = spent["total"] - sum(v for k, v in spent.items() if k != "total")
    picked = f"Picked ({study.options.pick}): trial {best.trial} at step {best.step}." if best else "No point yet."
    return (
        f'<div class="verdict"><strong>{html.escape(picked)}</strong><p>{said} of {study.options.trials} trials; '
        f"{spent['total']:.0f} s in trials: {spent['training']:.0f} s training, {spent['sampling']:.0f} s sampling, "
        f"{spent['scoring']:.0f} s scoring, "
        f"{spent['validation']:.0f} s other validation, {spent['other']:.0f} s everything else.</p></div>"
    )


def _front(study: Study, points: Sequence[FrontPoint], records: Sequence[TrialRecord]) -> str:
    if not points:
        return ""
    table = front_table(study, points, records)
    for name in study.options.objectives:
        low, high = table.pop(f"{name}_low"), table.pop(f"{name}_high")
        table[name] = [f"{v:.4g} [{a:.4g}, {b:.4g}]" for v, a, b in zip(table[name], low, high, strict=True)]
        table = table.drop(columns=[f"reward/{name}", f"first_reward/{name}"])
    table.columns = [str(column).removeprefix("model.") for column in table.columns]
    shown = table.to_html(index=False, border=0, float_format=lambda v: f"{v:.4g}")
    return f'<h2>Points of the front</h2><div class="scroll">{shown}</div>'


def _trials(study: Study, records: Sequence[TrialRecord]) -> str:
    known = study.paths
    rows = "".join(
        f"<tr><td>{r.number}</td><td>{r.state}</td><td><code>{''.join(map(str, r.mask))}</code></td>"
        f"<td class=num>{html.escape(', '.join(f'{k.split(chr(46))[-1]} {v}' for k, v in r.values.items()))}</td>"
        f"<td class=num>{r.seconds.get('total', 0):.0f}</td><td class=num>{r.attempts}</td>"
        f"<td class=note>{html.escape(without_paths(r.error or '', known)[:300])}</td></tr>"
        for r in records
    )
    head = (
        "<tr><th>trial</th><th>state</th><th>mask</th><th>parameters</th><th>s</th><th>starts</th><th>error</th></tr>"
    )
    note = "<p class=note>Errors are shown without paths; their whole texts are in trials/trial-NNNN/trial.log.</p>"
    failed = note if any(r.error for r in records) else ""
    return f'<h2>Trials</h2>{failed}<div class="scroll"><table>{head}{rows}</table></div>'


def _image(content: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(content).decode()}">'
