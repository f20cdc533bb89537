"""What an audit's report says first, to somebody who decides: what was audited, does it leak, how sure, what next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from memcontrol.audit.attack import Extraction
from memcontrol.audit.audited import Audited
from memcontrol.audit.verdict import Status
from memcontrol.files.card import Card
from memcontrol.measures import MEASURES, Measurement
from memcontrol.privacy.guarantee import NO_GUARANTEE

__all__ = ["AttackClass", "attack_classes", "front_page"]

SAID: Final[dict[Status, str]] = {
    "leak": "A leak was found",
    "none": "No leak was found",
    "unsure": "Too little data to say",
}
NEXT: Final[dict[Status, tuple[str, ...]]] = {
    "leak": (
        "Do not give this model, or pictures that it draws, to anybody who may not see its training patients' images.",
        "`leaking.csv` ranks all training patients by name, the most exposed first; it is for the data's owner alone.",
        "Train again so that less is learnt by heart: fewer steps, a lower learning rate, `mitigation/augment.yaml` or "
        "`mitigation/floor.yaml`; or without the most exposed patients: copy their rows of `leaking.csv` into a file "
        "and name it as `--data.exclude`. Then audit again.",
    ),
    "none": (
        "Nothing that was tested speaks against giving the model to those for whom it is meant. What was not tested "
        "stands above.",
        "Somebody who can train models of the same kind on similar patients sees more than any attack on one model. If "
        "the weights are to leave the house, audit again with `options.shadows.number: 8`.",
        "Keep this report with the model. A model that is trained on is another model.",
    ),
    "unsure": (
        "Do not pass the model to anybody who may not see these patients' images on the strength of this audit: a leak "
        "could have gone unseen.",
        "Ask whoever trained it for an audit with more patients, both trained on and held out, split at random, and "
        "with more pictures. The page of `memcontrol init` shows how many patients show how small a leak. (For "
        "them: `data.split_fractions`, `options.scoring.num_images`.)",
    ),
}
"""What to do next."""
UNKNOWN: Final = "not known"
RARE: Final = 0.05
"""Below this, that a patient stands out is more than a reader should put down to chance."""


@dataclass(frozen=True)
class AttackClass:
    """A class of attacks as supervisors name them, and what was run of it.

    Args:
        name: Its name.
        asks: What an attacker of this class wants to know.
        ran: What was run; empty if nothing was.
        patients: How many training and held-out patients it was run on.
        control: What stood beside it, so that a find is no accident.
        power: How small a leak would have been noticed four times in five.
        tests: How many tests were judged.
        result: What came out.
        found: Whether it found a leak; None where nothing was judged, as there was too little to judge by.
    """

    name: str
    asks: str
    ran: str = ""
    patients: str = "-"
    control: str = "-"
    power: str = "-"
    tests: int = 0
    result: str = "not tested"
    found: bool | None = None


def front_page(item: Audited, about: Mapping[str, Any], level: float) -> dict[str, Any]:
    """Return what stands on the first page of one model.

    Args:
        item: What was found.
        about: Date, versions and numbers of the audit.
        level: How rare a false alarm of the whole verdict is.
    """
    status = item.verdict.status
    classes = attack_classes(item, about, level)
    said = SAID[status]
    if status == "unsure" and item.verdict.outcome == "none found":
        said = "No leak was found, but one could have gone unseen"
    return {
        "status": status,
        "said": said,
        "identity": list(_identity(item, about)),
        "guarantee": _guarantee(item),
        "classes": classes,
        "untested": [attack for attack in classes if not attack.ran],
        "next": NEXT[status],
        "worst": _worst(item.ranked),
    }


def _identity(item: Audited, about: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [
        ("model", f"{item.source.name} ({item.source.kind})"),
        ("what it is for", "whoever trained it fills this in: __________"),
        *_of_card(item.source.card),
    ]
    found.append(
        (
            "compared",
            f"{about['training_patients']} training patients ({about['training_images']} images) with "
            f"{about['heldout_patients']} held-out ones ({about['heldout_images']} images)",
        )
    )
    found.append(("proven bound", _guarantee(item)))
    if item.used is not None:
        found.append(("seen of it", str(item.used)))
    when = datetime.fromisoformat(about["date"]).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return [*found, ("audited", f"{when}, memcontrol {about['versions']['memcontrol']}")]


def _guarantee(item: Audited) -> str:
    """Return what is proven of a model, in words."""
    return str(item.guarantee or (NO_GUARANTEE if item.source.card is not None else "not known"))


def _of_card(card: Card | None) -> list[tuple[str, str]]:
    if card is None:
        return []
    adapter = dict(card.adapter or {})
    bits = card.mask["bits"]
    share = f", {100 * card.trained / card.parameters:.3g} % of the U-Net" if card.trained and card.parameters else ""
    found = [
        ("base", f"{card.public_base}, weights {card.base_fingerprint}"),
        (
            "trained",
            f"{adapter.get('peft_type', 'nothing')}, {sum(bits)} of {len(bits)} slots of {card.mask['layout']}{share}",
        ),
        ("step", f"{card.step:,}" + (f", {card.scale:g} of the way from the base" if card.scale != 1 else "")),
    ]
    return [*found, ("training images", f"fingerprint {card.training_set}")] if card.training_set else found


def attack_classes(item: Audited, about: Mapping[str, Any], level: float) -> list[AttackClass]:
    """Return what was run of each class of attacks that supervisors name (EDPB Opinion 28/2024)."""
    both = f"{about['training_patients']} / {about['heldout_patients']}"
    membership = [m for m in item.measurements if _attacker(m) in ("weights", "captions")]
    shadows = [m for m in item.measurements if _attacker(m) == "shadows" and m.value is not None]
    copies = [m for m in item.measurements if m.name in ("replication", "own_prompt", "amd", "authenticity")]
    adjusted = item.verdict.adjusted
    classes = [
        AttackClass("membership inference", "was this patient's image trained on?"),
        AttackClass("membership inference with shadow models", "a stronger form, with models of similar patients"),
        AttackClass("regurgitation", "does it draw training images when asked as in training?"),
        AttackClass("exfiltration (extraction)", "can images be had out of it by drawing many pictures?"),
        AttackClass("further tests", "what tests of your own ask"),
        AttackClass("attribute inference", "does it give away what else is true of a patient?"),
        AttackClass("model inversion", "can a patient's image be made from what the model answers?"),
        AttackClass("reconstruction", "can an image be completed from a part of it?"),
    ]
    right, share = 100 * item.verdict.area, 100 * item.verdict.detectable
    between = f"right {right:.0f} times in 100 between two patients (guessing: 50)" if np.isfinite(right) else UNKNOWN
    some = f"{share:.0f} % of the pictures" if np.isfinite(share) else "none, however many"
    ran = {
        0: _ran(membership, adjusted, level, both, "held-out patients, and the untouched base", between),
        1: _ran(shadows, adjusted, level, both, "each shadow model's own held-out half", UNKNOWN),
        2: _ran(copies, adjusted, level, both, "held-out patients' images, and the untouched base", some),
    }
    known = {m.name for m in (*membership, *shadows, *copies)}
    others = [m for m in item.measurements if m.name in adjusted and m.name not in known]
    ran[4] = _ran(others, adjusted, level, both, "as each says", UNKNOWN)
    if item.extraction is not None:
        one, p = item.extraction, adjusted.get("extraction", float("nan"))
        ran[3] = {
            "ran": f"one picture for each of {one.screened} training captions, many for {one.prompts}",
            "patients": both,
            "control": "pictures for held-out captions",
            "power": UNKNOWN,
            "tests": int(np.isfinite(p)),
            "result": _came_out(one, p, level),
            "found": p < level if np.isfinite(p) else None,
        }
    found = [AttackClass(attack.name, attack.asks, **(ran.get(i) or {})) for i, attack in enumerate(classes)]
    return [attack for attack in found if attack.ran or attack.name != "further tests"]


def _ran(
    measured: Sequence[Measurement],
    adjusted: Mapping[str, float],
    level: float,
    patients: str,
    control: str,
    power: str,
) -> dict[str, Any] | None:
    """Return what came out of measures of one class: the one with the smallest p-value speaks for all."""
    measured = [m for m in measured if m.value is not None]
    if not measured:
        return None
    judged = [m for m in measured if m.name in adjusted]
    found = [m.name for m in judged if adjusted[m.name] < level]
    least = min((adjusted[m.name] for m in judged), default=float("nan"))
    nearest = next((m.name for m in judged if adjusted[m.name] == least), "")
    result = f"a leak, by {', '.join(found)}" if found else "no sign of a leak" if judged else "not judged"
    return {
        "ran": ", ".join(m.name for m in measured),
        "patients": patients,
        "control": control,
        "power": power,
        "tests": len(judged),
        "result": result + (f" (smallest p = {least:.2g}, {nearest})" if judged else ""),
        "found": bool(found) if judged else None,
    }


def _came_out(extraction: Extraction, p: float, level: float) -> str:
    """Return what the attack has found; that pictures lie near some training images is no find by itself."""
    number = len(extraction.extracted)
    if p < level:
        return f"{number or 'parts of'} training images came out (p = {p:.2g})"
    near = f"pictures that kept coming back lay near {number} training images" if number else "none came out"
    return near + (f", no more than chance gives (p = {p:.2g})" if np.isfinite(p) else ", not judged")


def _worst(ranked: pd.DataFrame | None) -> str:
    """Return a sentence on the training patient who stands out most: anonymity is asked of each person."""
    if ranked is None or ranked.empty:
        return "No patient was looked at alone."
    first = ranked.iloc[0]
    if bool(first["extracted"]):
        return f"An image of {int(ranked['extracted'].sum())} training patients was extracted."
    if not np.isfinite(first["chance"]):
        return "No patient was tested alone, as there was nothing to compare with (a folder of pictures)."
    alone = float(first["chance"])
    by_accident = -np.expm1(len(ranked) * np.log1p(-min(alone, 1 - 1e-12)))
    return (
        f"One training patient stands out most. Of patients who were not trained on, {_percent(alone)} stand out as "
        f"far. But {len(ranked)} were looked at: if the model remembered none of them, the most conspicuous of so many "
        f"would still stand out as much in {_percent(by_accident)} of audits. "
        + ("That is rare: look at this patient." if by_accident < RARE else "So it may be chance, and proves nothing.")
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.095 else f"{100 * share:.0f} %"


def _attacker(measurement: Measurement) -> str:
    return MEASURES[measurement.name].attacker if measurement.name in MEASURES else ""
