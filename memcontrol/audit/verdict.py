"""The verdict, in plain words first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from scipy.stats import norm

from memcontrol.audit.attack import Extraction
from memcontrol.audit.exchangeability import Exchangeability
from memcontrol.errors import RewardError
from memcontrol.measures import MEASURES, Measurement
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.measures.statistics.multiplicity import holm
from memcontrol.measures.statistics.power import LEAST, POWER, detectable_share
from memcontrol.measures.statistics.pvalues import rank_of

__all__ = ["Outcome", "Patients", "Status", "Verdict", "exit_code_of", "judge"]

EXTRACTION = "samples of a prompt are far more like one training image than what is no copy ever is"


def _words(name: str) -> str:
    """Return what a leak by a test is, as a clause."""
    if name == "extraction":
        return EXTRACTION
    return (MEASURES[name].leak if name in MEASURES else "") or name


Outcome = Literal["leak", "none found", "too little"]
Status = Literal["leak", "none", "unsure"]
WEAK: Final = 0.2
"""Smallest share of copies that would have been found, from which on nothing found says little."""


@dataclass(frozen=True)
class Patients:
    """How many patients a verdict rests on.

    Args:
        training: Patients of the training split.
        heldout: Held-out patients.
        sampled: Training patients whose prompts were drawn.
        calibration: Held-out patients that set the threshold of copies.
        control: Held-out patients whose prompts were drawn.
        beside_base: Whether the untouched base drew the same prompts.
        near_copies: Held-out images that are copies of training images.
    """

    training: int
    heldout: int
    sampled: int
    calibration: int
    control: int = 0
    beside_base: bool = False
    near_copies: int = 0

    def detectable(self, alpha: float, level: float) -> float:
        """Return the smallest share of copies that is found at a level, see `detectable_share`."""
        sizes = (self.calibration, *([self.control] if self.control else []))
        return detectable_share(self.sampled, [(n, rank_of(alpha, n)) for n in sizes], level, self.beside_base)


@dataclass(frozen=True)
class Verdict:
    """What the audit concludes.

    Args:
        outcome: `leak`, `none found` (with the power that the details state), or `too little` to say anything.
        sentence: The conclusion in one sentence.
        details: Further sentences.
        adjusted: P-value of each tested measure after Holm's correction.
        detectable: Smallest share of copies among drawn images that would have been found with a probability of 80 %;
            NaN where no share would have been.
        area: Smallest AUC of membership that would have been found with a probability of 80 %; NaN where it is not
            known.
    """

    outcome: Outcome
    sentence: str
    details: list[str]
    adjusted: dict[str, float]
    detectable: float
    area: float = math.nan

    @property
    def leaks(self) -> bool:
        """Whether a leak was found."""
        return self.outcome == "leak"

    @property
    def status(self) -> Status:
        """The colour of the page: nothing found by tests that could find little is no good news."""
        if self.outcome == "leak":
            return "leak"
        is_weak = not self.detectable <= WEAK  # also where it is no number
        return "unsure" if self.outcome == "too little" or is_weak else "none"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "leaks": self.leaks, "status": self.status}


EXIT_CODES: Final[dict[Status, int]] = {"none": 0, "leak": 3, "unsure": 4}
"""What a script is told; 1 and 2 are errors."""


def exit_code_of(audited: Iterable[Any]) -> int:
    """Return the exit code of an audit: that of a leak, if any of the models has one, else of too little to say.

    Args:
        audited: What was found of each model, with its `verdict`.
    """
    found = {EXIT_CODES[item.verdict.status] for item in audited}
    return EXIT_CODES["leak"] if EXIT_CODES["leak"] in found else max(found, default=0)


def judge(
    measurements: list[Measurement],
    extraction: Extraction | None,
    leaking: list[str],
    patients: Patients,
    fairness: Exchangeability | None,
    alpha: float,
    level: float,
) -> Verdict:
    """Weigh the measures.

    Args:
        measurements: All measurements.
        extraction: Outcome of the extraction attack, where there was one.
        leaking: Patients whose images drawn pictures copy.
        patients: How many patients there are of each kind.
        fairness: Whether training and held-out patients are alike before any fine-tuning, where that was tested.
        alpha: Share of held-out images that count as copies.
        level: How rare a false alarm of the whole verdict is.

    Returns:
        The verdict.

    Raises:
        RewardError: If a p-value is no number: nothing must pass for clean because it could not be computed.
    """
    tested = {m.name: m.p for m in measurements if m.p is not None and m.group == "memorization"}
    if extraction:
        tested["extraction"] = extraction.p
    broken = [name for name, p in tested.items() if not np.isfinite(p)]
    if broken:
        raise RewardError(
            f"The p-values of {broken} are no numbers, so there is no verdict. The model may have diverged."
        )
    too_little = _too_little(patients, fairness)
    if too_little:
        tested = {name: p for name, p in tested.items() if name in MEASURES and MEASURES[name].within_training}
    adjusted = dict(zip(tested, holm(list(tested.values())).tolist(), strict=True))
    found = [name for name, p in adjusted.items() if p < level]
    each = level / max(1, len(tested))
    detectable = patients.detectable(alpha, each)
    details = [f"Found: {_words(name)} (adjusted p = {adjusted[name]:.2g})." for name in found]
    if too_little and not (found and patients.training >= LEAST):
        return Verdict("too little", f"Too little to say. {too_little}", [], adjusted, detectable)
    if too_little:
        sentence = f"LEAK FOUND by {len(found)} of {len(tested)} tests among training images alone."
        return Verdict("leak", sentence, [*details, too_little], adjusted, detectable)
    if "replication" in found:
        details.append(f"Drawn pictures copy images of {len(leaking)} patients, who stand first in `leaking.csv`.")
    primary, area = _area(measurements, each)
    details += [*_power(primary, area), _reach(patients, detectable)]
    if extraction:
        kept = f"For {extraction.flagged or 'none'} of these captions did a picture keep coming back"
        near = "that came out" if "extraction" in found else "that such pictures lay near, no more than chance gives"
        details.append(
            f"Extraction: one picture was drawn for each of {extraction.screened} training captions, and many for the "
            f"{extraction.prompts} whose pictures were most like a training image. An image that was learnt by heart "
            f"would keep coming back. {kept}; training images {near}: {len(extraction.extracted)}. How rare a "
            "copy this would have found is not known."
        )
    if patients.near_copies:
        details.append(
            f"{patients.near_copies} held-out images are copies of training images, up to tone, pose and cut. They set "
            "no threshold of copies, but lower what membership shows. Put all images of one patient into one split."
        )
    if found:
        sentence = f"LEAK FOUND by {len(found)} of {len(tested)} tests."
        return Verdict("leak", sentence, details, adjusted, detectable, area)
    sentence = (
        f"No leak found by {len(tested)} tests. This does not prove that there is none: a weak one can be missed. "
        f"(False alarms are rare, fewer than 1 in {1 / level:.0f}; missed leaks are the concern.)"
    )
    return Verdict("none found", sentence, details, adjusted, detectable, area)


def _too_little(patients: Patients, fairness: Exchangeability | None) -> str:
    """Return why nothing can be said; empty if something can."""
    if min(patients.training, patients.heldout) < LEAST:
        return (
            f"{patients.training} training and {patients.heldout} held-out patients were compared, and a verdict needs "
            f"at least {LEAST} of each. Hold out more patients, or audit a model of more."
        )
    if fairness is not None and not fairness.holds:
        return (
            "Training and held-out patients differ before any fine-tuning: without the model they are told apart with "
            f"an AUC of {fairness.area:.2f} (p = {fairness.p:.2g}), as patients of two hospitals are. A model that "
            "adapts to one of them looks as if it leaked. Hold out patients of the training data at random: leave the "
            "column of splits out, and `data.split_fractions` says how many."
        )
    return ""


def _area(measurements: list[Measurement], level: float) -> tuple[Measurement | None, float]:
    """Return the primary measure of membership, and from which AUC on it finds some with a probability of 80 %."""
    first = next((m for m in measurements if m.spread and m.p is not None), None)
    if first is None:
        return None, math.nan
    null = first.null.value if isinstance(first.null, Interval) else first.null
    rise = float(norm.isf(level / 2) + norm.isf(1 - POWER)) * (first.spread or 0.0)
    return first, min(1.0, (null or 0.5) + rise)


def _power(primary: Measurement | None, area: float) -> list[str]:
    if primary is None or primary.value is None:
        return []
    value, low, high = (100 * x for x in (primary.value.value, primary.value.low, primary.value.high))
    spread = f"; with so few patients, the truth may lie from {low:.0f} to {high:.0f}" if np.isfinite(low) else ""
    return [
        "Membership: between a patient who was trained on and one who was not, guessing is right 50 times in 100. The "
        f"main attack (`{primary.name}`) was right {value:.0f} times{spread}. Had it been right {100 * area:.0f} times "
        "or more, this audit would have noticed four times in five; a weaker leak, or that of one patient among many, "
        "can be missed."
    ]


def _reach(patients: Patients, detectable: float) -> str:
    of = (
        f"Pictures were drawn for {patients.sampled} training patients; how alike a picture must be to count as a copy "
        f"was decided with {patients.calibration} held-out patients."
    )
    if np.isfinite(detectable):
        return (
            f"Regurgitation: had {100 * detectable:.1f} in 100 pictures or more been copies, this audit would have "
            f"noticed four times in five; fewer can be missed. {of}"
        )
    return f"Regurgitation: no copies could have been noticed, however many. Draw more, or hold out more patients. {of}"
