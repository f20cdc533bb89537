"""The report: one HTML file that opens offline."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memcontrol.audit.comparison import Difference
from memcontrol.audit.figures import distance_histogram, grid_of, picture, roc_curves
from memcontrol.audit.options import AuditOptions
from memcontrol.data.features import split_pixels
from memcontrol.rewards.functional.intervals import Interval
from memcontrol.scoring import Measure, RealImages
from memcontrol.scoring.evidence import Drawn

if TYPE_CHECKING:
    from memcontrol.audit.run import Audited

__all__ = ["write_report"]

KEY = secrets.token_bytes(16)

STYLE = (Path(__file__).parent.parent / "assets" / "report.css").read_text()


def write_report(
    found: list[Audited],
    differences: list[Difference],
    real: RealImages,
    options: AuditOptions,
    about: dict[str, Any],
    path: Path,
) -> None:
    """Write the report of one or several audited models."""
    parts = [_section(item, real, options) for item in found]
    if differences:
        parts.append(_comparison(found[0], differences))
    title = "Privacy audit"
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{title}</title><style>{STYLE}</style></head><body>'
        f"<h1>{title}</h1>{''.join(parts)}{_about(about)}</body></html>"
    )
    path.write_text(page)


def _section(item: Audited, real: RealImages, options: AuditOptions) -> str:
    verdict = item.verdict
    details = "".join(f"<li>{html.escape(d)}</li>" for d in verdict.details)
    leak = " leak" if verdict.leaks else ""
    drawn = item.evidence.train
    assert drawn is not None
    return (
        f"<h2>{html.escape(item.source.name)} ({item.source.kind})</h2>"
        f'<div class="verdict{leak}"><strong>{html.escape(verdict.sentence)}</strong><ul>{details}</ul></div>'
        f"{_table('Memorization', item.measures, 'memorization', verdict.adjusted)}"
        f"{_table('Quality', item.measures, 'quality', {})}"
        f"{_figures(item, drawn, real, options)}{_pairs(drawn, real, options)}{_grid(drawn, options)}"
    )


def _table(title: str, measures: list[Measure], group: str, adjusted: dict[str, float]) -> str:
    rows = [m for m in measures if m.group == group]
    if not rows:
        return ""
    head = "<tr><th>measure</th><th>value [95 %]</th><th>null</th><th>better</th><th>patients</th><th>p (Holm)</th>"
    body = "".join(
        f"<tr><td>{m.name}</td><td class=num>{_number(m.value or math.nan)}</td><td class=num>{_number(m.null)}</td>"
        f"<td>{'higher' if m.higher_is_better else 'lower'}</td><td class=num>{m.value.n if m.value else '-'}</td>"
        f"<td class=num>{f'{adjusted[m.name]:.2g}' if m.name in adjusted else '-'}</td>"
        f"<td class=note>{html.escape(m.note)}</td></tr>"
        for m in rows
    )
    return f'<h3>{title}</h3><div class="scroll"><table>{head}<th>note</th></tr>{body}</table></div>'


def _number(value: Interval | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        if math.isnan(value):
            return "not estimable"
        return f"{value:.4g}"
    if not np.isfinite(value.low):
        return f"{value.value:.4g}"
    return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"


def _figures(item: Audited, drawn: Drawn, real: RealImages, options: AuditOptions) -> str:
    threshold, _ = real.copy_threshold(options.scoring.alpha)
    figures = [distance_histogram(real.match(drawn.thumbnails).similarity, real.held_copies.similarity, threshold)]
    members, others = item.evidence.members, item.evidence.others
    if members is not None and others is not None:
        names = {"loss": "denoising loss", "secmi": "SecMI", "pia": "PIA"}
        figures.append(
            roc_curves(
                {
                    n: (-members.scores[k].numpy(), -others.scores[k].numpy())
                    for k, n in names.items()
                    if k in members.scores
                }
            )
        )
    return f'<h3>Distances and attacks</h3><div class="figures">{"".join(map(_image, figures))}</div>'


def _pairs(drawn: Drawn, real: RealImages, options: AuditOptions, count: int = 6) -> str:
    if options.images == "none":
        return "<p class=note>Pictures are left out (images: none).</p>"
    blurred = options.images == "blurred"
    warning = "<p class=note>Pictures are blurred. Blurring does not de-identify: treat this file as private.</p>"
    match = real.match(drawn.thumbnails)
    cards = []
    for i in match.similarity.argsort(descending=True)[:count].tolist():
        row = int(match.row[i])
        pair = drawn.images[i], split_pixels(real.data, "train", [row])[0]
        cards.append(
            _card("drawn", "training", pair, float(match.similarity[i]), _who(real, "train", row, options), blurred)
        )
    held = real.held_copies
    for i in held.similarity.argsort(descending=True)[:count].tolist():
        row = int(held.row[i])
        pair = split_pixels(real.data, real.heldout, [i])[0], split_pixels(real.data, "train", [row])[0]
        who = _who(real, real.heldout, i, options)
        cards.append(_card("held-out", "training", pair, float(held.similarity[i]), who, blurred))
    return (
        f"<h3>Closest pairs</h3>{warning if blurred else ''}<p class=note>First what was drawn beside its nearest "
        "training image, then, as a yardstick, held-out patients beside theirs: two different patients can look this "
        f'alike.</p><div class="pairs">{"".join(cards)}</div>'
    )


def _card(left: str, right: str, pair: tuple[Any, Any], similarity: float, who: str, blurred: bool) -> str:
    images = "".join(_image(picture(image, blurred)) for image in pair)
    return (
        f'<div class="pair"><div>{images}</div>{left} | {right}, distance {1 - similarity:.3f}<br>'
        f"<code>{html.escape(who)}</code></div>"
    )


def _who(real: RealImages, split: str, row: int, options: AuditOptions) -> str:
    subject, text = real.subjects(split)[row], real.texts(split)[row]
    if options.show_prompts:
        return f"{subject}: {text}"
    return f"patient #{_hash(subject)}, prompt #{_hash(text)}"


def _hash(text: str) -> str:
    """Hash with a key that is forgotten with the process: ids of eight digits could be guessed otherwise."""
    return hashlib.blake2b(text.encode(), key=KEY, digest_size=4).hexdigest()


def _grid(drawn: Drawn, options: AuditOptions, count: int = 32) -> str:
    if options.images == "none":
        return ""
    return f"<h3>Drawn for training prompts</h3>{_image(grid_of(drawn.images[:count], options.images == 'blurred'))}"


def _image(content: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(content).decode()}">'


def _comparison(first: Audited, differences: list[Difference]) -> str:
    body = "".join(
        f"<tr><td>{d.name}</td><td>{html.escape(d.other)}</td><td class=num>{_number(d.value)}</td></tr>"
        for d in differences
    )
    return (
        f"<h2>Against {html.escape(first.source.name)}</h2><p class=note>Differences on the same prompts, "
        "seeds and images (this minus the first); an interval without 0 is a difference.</p>"
        f'<div class="scroll"><table><tr><th>measure</th><th>model</th><th>difference [95 %]</th></tr>'
        f"{body}</table></div>"
    )


def _about(about: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(k)}</td><td><code>{html.escape(str(v))}</code></td></tr>" for k, v in about.items()
    )
    return f'<h2>How this was made</h2><div class="scroll"><table>{rows}</table></div>'
