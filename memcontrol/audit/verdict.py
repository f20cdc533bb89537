"""The verdict, in plain words first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from memcontrol.audit.attack import Extraction
from memcontrol.rewards.functional.multiplicity import holm
from memcontrol.scoring import Measure

__all__ = ["Verdict", "detectable_share", "judge"]

WORDS = {
    "membership_auc": "its denoising loss tells training images from held-out ones",
    "membership_auc_secmi": "the SecMI attack tells training images from held-out ones",
    "membership_auc_pia": "the PIA attack tells training images from held-out ones",
    "membership_tpr_1": "it gives away more members than chance at 1 % false alarms",
    "membership_tpr_01": "it gives away more members than chance at 0.1 % false alarms",
    "noise_norm": "it reacts to training prompts more strongly than to held-out ones",
    "own_prompt": "what it draws for a training prompt is nearest to that prompt's own image",
    "replication": "it draws copies of training images",
    "amd": "what it draws for training prompts lies nearer to training images than for held-out prompts",
    "authenticity": "what it draws for training prompts hugs training images more than for held-out prompts",
}


@dataclass(frozen=True)
class Verdict:
    """What the audit concludes.

    Args:
        leaks: Whether a leak was found.
        sentence: The conclusion in one sentence.
        details: Further sentences.
        adjusted: P-value of each tested measure after Holm's correction.
        detectable: Smallest share of copies among drawn images that would have been found with a probability of 80 %.
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
    measures: list[Measure],
    extraction: Extraction | None,
    leaking: list[str],
    num_drawn: int,
    alpha: float,
    level: float,
) -> Verdict:
    """Weigh the measures.

    Args:
        measures: All measures.
        extraction: Outcome of the extraction attack, where there was one.
        leaking: Patients whose images drawn pictures copy.
        num_drawn: Patients whose prompts were drawn.
        alpha: Share of held-out images that count as copies.
        level: How rare a false alarm of the whole verdict is.

    Returns:
        The verdict. An extracted image is a leak by itself.
    """
    tested = {m.name: m.p for m in measures if m.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())).tolist(), strict=True))
    found = [name for name, p in adjusted.items() if p < level]
    extracted = len(extraction.extracted) if extraction else 0
    detectable = detectable_share(num_drawn, alpha, level / max(1, len(tested)))
    details = [f"Found: {WORDS.get(name, name)} (adjusted p = {adjusted[name]:.2g})." for name in found]
    if "replication" in found:
        details.append(f"Drawn pictures copy images of {len(leaking)} patients.")
    if extraction:
        details.append(
            f"Extraction attack: {extraction.flagged} of {extraction.prompts} prompts gave samples that agree with "
            f"each other; {extracted} training images were extracted."
        )
    details.append(
        f"With pictures for {num_drawn} patients, copies would have been found with a probability of 80 % if they made "
        f"up at least {100 * detectable:.1f} % of them."
    )
    if found or extracted:
        sentence = f"LEAK FOUND by {len(found) + bool(extracted)} of {len(tested) + bool(extraction)} tests."
    else:
        sentence = (
            f"No leak found by {len(tested) + bool(extraction)} tests; a false alarm of all together is rarer than "
            f"{100 * level:g} %. This does not prove that there is none."
        )
    return Verdict(bool(found or extracted), sentence, details, adjusted, detectable)


def detectable_share(n: int, alpha: float, level: float, power: float = 0.8) -> float:
    """Return the smallest share of copies among n pictures that a test at this level finds with this power.

    Example:
        >>> 0.04 < detectable_share(100, 0.01, 0.01) < 0.08
        True
    """
    if n < 1:
        return 1.0
    needed = int(binom.isf(level, n, alpha)) + 1
    shares = np.linspace(0, 1, 1001)
    enough = shares[binom.sf(needed - 1, n, alpha + (1 - alpha) * shares) >= power]
    return float(enough[0]) if len(enough) else 1.0
