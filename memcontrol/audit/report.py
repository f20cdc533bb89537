"""The report of an audit: one HTML file that opens offline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from memcontrol.audit.audited import Audited
from memcontrol.audit.comparison import Difference
from memcontrol.audit.front_page import front_page
from memcontrol.audit.options import AuditOptions
from memcontrol.audit.patients import risk_by_group
from memcontrol.audit.pseudonyms import pseudonym
from memcontrol.data.features import split_pixels
from memcontrol.measures import MEASURES, Measurement, RealImages, Sampled, Samples, chosen_measures
from memcontrol.measures.aggregators import GroupAUC
from memcontrol.measures.measure import ATTACKERS, Attacker
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.reports.audit_plots import distance_plot, roc_plot
from memcontrol.reports.page import data_url, write_page
from memcontrol.reports.pictures import grid_of, picture
from memcontrol.reports.plots import Plot

__all__ = ["write_report"]

NUM_PAIRS = 6
NUM_SHOWN = 32
NUM_PATIENTS = 10


def write_report(
    found: Sequence[Audited],
    differences: Sequence[Difference],
    real: RealImages,
    options: AuditOptions,
    about: Mapping[str, Any],
    path: Path,
) -> None:
    """Write the report of one or several audited models."""
    write_page(
        path,
        "audit.html",
        has_plots=True,
        title="Privacy audit",
        audited=[_item(number, item, real, options, about) for number, item in enumerate(found)],
        differences=[(d.name, d.other, _number(d.value)) for d in differences],
        about=list(about.items()),
        words=_words(found),
        level=f"{options.level:g}",
    )


def _item(
    number: int, item: Audited, real: RealImages, options: AuditOptions, about: Mapping[str, Any]
) -> dict[str, Any]:
    verdict, sampled = item.verdict, item.evidence[Samples("train")]
    is_blurred = options.images == "blurred"
    shows = options.images != "none"
    return {
        "name": item.source.name,
        "kind": item.source.kind,
        "front": front_page(item, about, options.level),
        "outcome": verdict.outcome.partition(" ")[0],
        "sentence": verdict.sentence,
        "details": verdict.details,
        "memorization": _rows(item.measurements, "memorization", verdict.adjusted, options.level),
        "quality": _rows(item.measurements, "quality", {}, options.level),
        "patients": _patients(item.ranked, options),
        "groups": [] if item.ranked is None else risk_by_group(item.ranked).to_dict("records"),
        "plots": _plots(number, item, sampled, real, options),
        "is_blurred": is_blurred,
        "pairs": _pairs(sampled, real, options) if shows else None,
        "grid": data_url(grid_of(sampled.images[:NUM_SHOWN], is_blurred)) if shows else None,
    }


def _words(found: Sequence[Audited]) -> list[tuple[str, str]]:
    """Return each measure of an audit with what it tells."""
    names = {measurement.name for item in found for measurement in item.measurements}
    return [(measure.name, measure.words) for measure in MEASURES.values() if measure.name in names]


def _rows(
    measurements: Sequence[Measurement], group: str, adjusted: Mapping[str, float], level: float
) -> list[dict[str, Any]]:
    return [
        {
            "name": m.name,
            "value": _number(m.value or math.nan),
            "null": _number(m.null),
            "better": "higher" if m.higher_is_better else "lower",
            "patients": m.value.n if m.value else "-",
            "p": f"{adjusted[m.name]:.2g}" if m.name in adjusted else "-",
            "sign": ("yes" if adjusted[m.name] < level else "no") if m.name in adjusted else "not judged",
            "attacker": ATTACKERS[_attacker(m.name)],
            "note": m.note,
        }
        for m in sorted(measurements, key=lambda m: list(ATTACKERS).index(_attacker(m.name)))
        if m.group == group
    ]


def _attacker(name: str) -> Attacker:
    return MEASURES[name].attacker if name in MEASURES else ""


def _patients(ranked: pd.DataFrame | None, options: AuditOptions) -> list[dict[str, Any]]:
    """Return the most exposed patients, under their pseudonyms unless the options show ids."""
    if ranked is None:
        return []
    shown = ranked.head(NUM_PATIENTS)
    names = shown["patient"] if options.show_prompts else "#" + shown["pseudonym"]
    columns = ["who", "images", "repeated", "chance", "copy", "extracted"]
    rows = shown.assign(who=names)[columns].to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _number(value: Interval | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return "not estimable" if math.isnan(value) else f"{value:.4g}"
    if not np.isfinite(value.low):
        return f"{value.value:.4g}"
    return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"


def _plots(number: int, item: Audited, sampled: Sampled, real: RealImages, options: AuditOptions) -> list[Plot]:
    """Return the plots of the n-th model."""
    threshold, _ = real.copy_threshold(options.scoring.alpha)
    similarity = real.match(sampled.copy_features).similarity
    plots = [distance_plot(f"distances-{number}", similarity, real.heldout_copies.similarity, threshold)]
    scene, scores = item.scene(real, options.scoring), {}
    for measure in chosen_measures(options.scoring):
        if isinstance(measure.aggregator, GroupAUC) and item.evidence.holds(measure.needs):
            values = measure.values(item.evidence, scene)
            if values is not None and values.outside is not None:
                scores[measure.name] = (values.inside.numpy(), values.outside.numpy())
    return [*plots, roc_plot(f"attacks-{number}", scores)] if scores else plots


def _pairs(sampled: Sampled, real: RealImages, options: AuditOptions) -> list[dict[str, Any]]:
    """Return the closest pairs: of what was sampled, then, as a yardstick, of held-out patients."""
    match, cards = real.match(sampled.copy_features), []
    for i in match.similarity.argsort(descending=True)[:NUM_PAIRS].tolist():
        row = int(match.row[i])
        pair = sampled.images[i], split_pixels(real.data, "train", [row])[0]
        who = _who(real, "train", row, options)
        cards.append(_card("drawn", pair, float(match.similarity[i]), who, options))
    held, split = real.heldout_copies, real.heldout_split
    for i in held.similarity.argsort(descending=True)[:NUM_PAIRS].tolist():
        pair = split_pixels(real.data, split, [i])[0], split_pixels(real.data, "train", [int(held.row[i])])[0]
        who = _who(real, split, i, options)
        cards.append(_card("held-out", pair, float(held.similarity[i]), who, options))
    return cards


def _card(left: str, pair: tuple[Any, Any], similarity: float, who: str, options: AuditOptions) -> dict[str, Any]:
    is_blurred = options.images == "blurred"
    return {
        "sources": [data_url(picture(image, is_blurred)) for image in pair],
        "left": left,
        "right": "training",
        "distance": f"{1 - similarity:.3f}",
        "who": who,
    }


def _who(real: RealImages, split: str, row: int, options: AuditOptions) -> str:
    subject, text = real.subjects(split)[row], real.texts(split)[row]
    if options.show_prompts:
        return f"{subject}: {text}"
    return f"patient #{pseudonym(subject)}, prompt #{pseudonym(text)}"
