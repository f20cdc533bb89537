"""The verdict, in plain words first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import beta, binom, nhypergeom

from memcontrol.audit.attack import Extraction
from memcontrol.errors import RewardError
from memcontrol.measures import MEASURES, Measurement
from memcontrol.measures.statistics.multiplicity import holm
from memcontrol.measures.statistics.pvalues import rank_of

__all__ = ["Verdict", "detectable_share", "judge"]

EXTRACTION = "samples of a training prompt agree with each other and with a training image"


def _words(name: str) -> str:
    """Return what a leak by a test is, as a clause."""
    if name == "extraction":
        return EXTRACTION
    return (MEASURES[name].leak if name in MEASURES else "") or name


@dataclass(frozen=True)
class Verdict:
    """What the audit concludes.

    Args:
        leaks: Whether a leak was found.
        sentence: The conclusion in one sentence.
        details: Further sentences.
        adjusted: P-value of each tested measure after Holm's correction.
        detectable: Smallest share of copies among drawn images that would have been found with a probability of 80 %;
            NaN where no share would have been.
    """

    leaks: bool
    sentence: str
    details: list[str]
    adjusted: dict[str, float]
    detectable: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def judge(
    measurements: list[Measurement],
    extraction: Extraction | None,
    leaking: list[str],
    num_sampled: int,
    num_calibration: int,
    alpha: float,
    level: float,
) -> Verdict:
    """Weigh the measures.

    Args:
        measurements: All measurements.
        extraction: Outcome of the extraction attack, where there was one.
        leaking: Patients whose images drawn pictures copy.
        num_sampled: Patients whose prompts were drawn.
        num_calibration: Held-out patients that set the threshold of copies.
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
    adjusted = dict(zip(tested, holm(list(tested.values())).tolist(), strict=True))
    found = [name for name, p in adjusted.items() if p < level]
    rank = rank_of(alpha, num_calibration)
    detectable = detectable_share(num_sampled, num_calibration, rank, level / max(1, len(tested)))
    details = [f"Found: {_words(name)} (adjusted p = {adjusted[name]:.2g})." for name in found]
    if "replication" in found:
        details.append(f"Drawn pictures copy images of {len(leaking)} patients.")
    if extraction:
        details.append(
            f"Extraction attack: {extraction.flagged} of {extraction.prompts} prompts gave samples that agree with "
            f"each other; {len(extraction.extracted)} training images match them, of {extraction.matched} prompts."
        )
    details.append(_reach(num_sampled, num_calibration, detectable))
    if found:
        sentence = f"LEAK FOUND by {len(found)} of {len(tested)} tests."
    else:
        sentence = (
            f"No leak found by {len(tested)} tests; a false alarm of all together is rarer than "
            f"{100 * level:g} %. This does not prove that there is none."
        )
    return Verdict(bool(found), sentence, details, adjusted, detectable)


def _reach(num_sampled: int, num_calibration: int, detectable: float) -> str:
    given = f"With pictures for {num_sampled} patients and a threshold from {num_calibration} held-out ones, "
    if np.isfinite(detectable):
        return given + (
            "the test of copies alone would have found them with a probability of 80 % if they made up at least "
            f"{100 * detectable:.1f} % of the pictures."
        )
    return given + "the test of copies alone could not have found any: draw more, or hold out more patients."


def detectable_share(n: int, k: int, rank: int, level: float, power: float = 0.8) -> float:
    """Return the smallest share of copies among pictures that `p_exceed` finds at a level with this power.

    Every copy lies above the threshold; of other pictures a share does that depends on which held-out patients set the
    threshold, and follows a beta distribution.

    Args:
        n: Patients whose pictures are tested.
        k: Held-out patients that set the threshold.
        rank: Which of their largest values it is.
        level: Level of the test, with its share of Holm's correction.
        power: Probability of finding.

    Returns:
        The share in [0, 1], or NaN where even copies only would not be found.

    Example:
        >>> round(detectable_share(200, 90, 1, 0.01 / 8), 3)
        0.098
    """
    counts = np.arange(1, n + 1)
    enough = counts[nhypergeom.sf(counts - 1, n + k, n, rank) < level] if n and k >= rank else counts[:0]
    if not len(enough):
        return float("nan")
    above = beta.ppf((np.arange(200) + 0.5) / 200, rank, k + 1 - rank)
    shares = np.linspace(0, 1, 1001)
    found = binom.sf(enough[0] - 1, n, above[None] + (1 - above[None]) * shares[:, None]).mean(axis=1)
    likely = shares[found >= power]
    return float(likely[0]) if len(likely) else float("nan")
