"""What an audit will be able to find, said before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import norm

from memcontrol.measures.statistics.power import LEAST, POWER, detectable_share
from memcontrol.measures.statistics.pvalues import rank_of

__all__ = ["Forecast", "forecast"]

TESTS: Final = 15
"""Tests that an audit of a run makes, with all of which Holm's correction reckons at first."""
PICTURES: Final = 200
"""Pictures that an audit draws for either side, and so the most patients of which it has one."""


@dataclass(frozen=True)
class Forecast:
    """What an audit will be able to find with a probability of 80 %.

    Args:
        training: Patients of the training split.
        heldout: Patients of the split that an audit compares them with.
        are_alike: Whether both were drawn at random from the same patients; else that is tested first.
        share: Smallest share of copies among drawn pictures, in [0, 1]; NaN where none would be found.
        area: Smallest AUC of membership, in [0.5, 1].
    """

    training: int
    heldout: int
    are_alike: bool
    share: float
    area: float

    @property
    def is_enough(self) -> bool:
        """Whether there will be a verdict at all."""
        return min(self.training, self.heldout) >= LEAST

    def lines(self) -> list[str]:
        """Return what to say, a sentence each."""
        if not self.is_enough:
            return [
                f"An audit of such a run can say nothing: it compares {self.training} training patients with "
                f"{self.heldout} held-out ones, and needs at least {LEAST} of each. Hold out more "
                "(`data.split_fractions`), or get more patients."
            ]
        copies = (
            f"copies, if they make up {100 * self.share:.0f} % of the pictures"
            if np.isfinite(self.share)
            else "no copies, however many"
        )
        found = (
            f"An audit compares {self.training} training patients with {self.heldout} held-out ones. With a "
            f"probability of {100 * POWER:.0f} % it will find {copies}, and membership from an AUC of {self.area:.2f}; "
            "one patient among many can stay below that."
        )
        if self.are_alike:
            return [found]
        return [
            found,
            "The table says the splits, so the audit first tests whether both are alike without the model. If they are "
            "not (two hospitals, two years), there is no verdict: leave the splits out, and they are drawn.",
        ]


def forecast(training: int, heldout: int, are_alike: bool, alpha: float = 0.01, level: float = 0.01) -> Forecast:
    """Reckon what an audit with the default options will be able to find.

    Args:
        training: Patients of the training split.
        heldout: Held-out patients.
        are_alike: Whether both were drawn at random from the same patients.
        alpha: Share of held-out images that count as copies.
        level: How rare a false alarm of the whole verdict is.

    Returns:
        The forecast; areas by the normal approximation of the Mann-Whitney statistic with one image of each patient.

    Example:
        >>> forecast(89, 60, True).lines()[0].split(". ")[1]
        'With a probability of 80 % it will find copies, if they make up 28 % of the pictures, and membership from an \
AUC of 0.71; one patient among many can stay below that.'
    """
    each = level / TESTS
    sizes = (heldout // 2, min(heldout, PICTURES))  # a half of the held-out patients sets the threshold of copies
    thresholds = [(size, rank_of(alpha, size)) for size in sizes]
    share = detectable_share(min(training, PICTURES), thresholds, each, beside_base=True)
    spread = np.sqrt((training + heldout + 1) / (12 * max(1, training) * max(1, heldout)))
    area = min(1.0, 0.5 + float(norm.isf(each / 2) + norm.isf(1 - POWER)) * float(spread))
    return Forecast(training, heldout, are_alike, share, area)
