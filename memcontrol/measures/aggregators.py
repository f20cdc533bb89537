"""From values per image to a value with interval, null, test and pairing: a measure only says what its values are.

| aggregator | of what | interval | null without a base |
| --- | --- | --- | --- |
| `PatientMean` | one value per image | cluster bootstrap over patients | that of `outside`, if there is one |
| `GroupAUC` | scores of two groups | bootstrap over the patients of both | 0.5 |
| `TPRAtFPR` | scores of two groups | bootstrap over the patients of both | the false-positive rate |
| `SampleDistance` | features of two samples | delete-half jackknife over the patients of both | - |
| `Figure` | whatever gives one number | as the measure says | as the measure says |

All replicates of one seed over the same patients are paired, so that differences between models have intervals too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from memcontrol.measures.functional.membership import tpr_replicates
from memcontrol.measures.statistics.intervals import (
    Interval,
    auc_replicates,
    jackknife_interval,
    jackknife_replicates,
    mean_interval,
    mean_replicates,
    percentile_interval,
)
from memcontrol.measures.statistics.pvalues import p_above_zero, p_gap, p_mean

__all__ = [
    "AboveBase",
    "AboveOutside",
    "Aggregator",
    "Figure",
    "GroupAUC",
    "PatientMean",
    "RiseAboveOutside",
    "SampleDistance",
    "Summary",
    "TPRAtFPR",
    "Test",
    "Values",
]


@dataclass(frozen=True)
class Values:
    """What a measure finds for one model, image by image.

    Args:
        inside: Values of what is in question, with shape `(n,)`; features with shape `(n, D)` for distances.
        patients: Patient of each.
        outside: Values that they are held against: of held-out images or of held-out prompts, likewise.
        outside_patients: Patient of each of these.
        raw: What `inside` was made from, where a test or a figure needs it, with shape `(n,)`.
        rank: Which of the largest of `outside` is a threshold, from 1, where a test has one.
    """

    inside: Tensor
    patients: Sequence[str]
    outside: Tensor | None = None
    outside_patients: Sequence[str] = ()
    raw: Tensor | None = None
    rank: int = 1

    @property
    def num_patients(self) -> int:
        """Number of patients: of the smaller side, where there are two."""
        sides = [set(self.patients)] + ([set(self.outside_patients)] if self.outside is not None else [])
        return min(map(len, sides))


@dataclass(frozen=True)
class Summary:
    """What an aggregator makes of values.

    Args:
        value: Value with interval, or None where it is not estimable with these numbers.
        null: What the base scores, or what chance gives.
        p: One-sided p-value of "worse than the null", or None where it is not tested.
        note: What a reader must know.
    """

    value: Interval | None
    null: Interval | float | None = None
    p: float | None = None
    note: str = ""


class Aggregator(ABC):
    """Turns values per image into a value, its interval, its null and its test."""

    keeps_values: bool = True
    """Whether a record keeps values per image, which replicates are made from anew, or else the replicates."""

    @abstractmethod
    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Summarize the values of one model.

        Args:
            ours: Its values.
            base: The same of the untouched base, if it was scored.
            worse: 1 where higher is worse, -1 where lower is.
            seed: Seed of replicates.
        """

    @abstractmethod
    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return replicates of the value over patients; those of one seed and the same patients are paired."""

    def difference(self, a: Values, b: Values, seed: int) -> Interval | None:
        """Return b minus a with its paired interval, or None where they are not comparable."""
        one, two = self.replicates(a, seed), self.replicates(b, seed)
        if not len(one) or len(one) != len(two) or not _are_paired(a, b):
            return None
        gap = self.value(b) - self.value(a)
        return percentile_interval(gap, two - one, a.num_patients)

    @abstractmethod
    def value(self, values: Values) -> float:
        """Return the value alone."""


class Test(ABC):
    """A one-sided test of a mean over patients."""

    words: str
    """What is tested against."""

    @abstractmethod
    def p(self, ours: Values, base: Values | None, worse: int, seed: int) -> float | None:
        """Return the p-value of "worse than what is tested against", or None where that is not there."""


class AboveBase(Test):
    """Is the mean worse than the base's on the same prompts and seeds?"""

    words = "the base"

    def p(self, ours: Values, base: Values | None, worse: int, seed: int) -> float | None:
        """Test the paired differences."""
        if base is None:
            return None
        return p_mean(worse * (ours.inside - base.inside), list(ours.patients), seed)


class AboveOutside(Test):
    """Is the mean worse than what the same model gives for held-out prompts?"""

    words = "what the same model draws for held-out prompts"

    def p(self, ours: Values, base: Values | None, worse: int, seed: int) -> float | None:
        """Test the gap of two groups of patients."""
        if ours.outside is None:
            return None
        inside, outside = worse * ours.inside, worse * ours.outside
        return p_gap(inside, outside, list(ours.patients), list(ours.outside_patients), seed)


class RiseAboveOutside(Test):
    """Has the mean risen over the base's more than that of held-out prompts has?"""

    words = "held-out prompts by its rise over the base"

    def p(self, ours: Values, base: Values | None, worse: int, seed: int) -> float | None:
        """Test the gap of two differences."""
        if base is None or ours.outside is None or base.outside is None:
            return None
        rise, other = worse * (ours.inside - base.inside), worse * (ours.outside - base.outside)
        return p_gap(rise, other, list(ours.patients), list(ours.outside_patients), seed)


@dataclass(frozen=True)
class PatientMean(Aggregator):
    """The mean over images; patients are the unit. Every test that can be made must find it.

    Args:
        tests: Tests; the p-value is the largest of theirs.
    """

    tests: tuple[Test, ...] = ()

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return mean, interval, the base's mean (or that of `outside`), and the largest p-value."""
        value = mean_interval(ours.inside, ours.patients, seed=seed)
        null = mean_interval(base.inside, base.patients, seed=seed) if base is not None else None
        made = {test.words: test.p(ours, base, worse, seed) for test in self.tests}
        ps = {words: p for words, p in made.items() if p is not None}
        if not self.tests:
            return Summary(value, null)
        if not ps:
            return Summary(value, null, None, "not tested: there is nothing to compare with")
        if null is None and ours.outside is not None and AboveOutside.words in ps:
            null = mean_interval(ours.outside, ours.outside_patients, seed=seed)
        return Summary(value, null, max(ps.values()), f"tested against {' and '.join(ps)}")

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return bootstrap replicates of the mean."""
        return mean_replicates(values.inside, values.patients, seed=seed)

    def value(self, values: Values) -> float:
        """Return the mean."""
        return float(np.mean(np.asarray(values.inside, dtype=np.float64)))

    def difference(self, a: Values, b: Values, seed: int) -> Interval | None:
        """Return the mean of the paired differences."""
        if list(a.patients) != list(b.patients):
            return None
        return mean_interval(b.inside - a.inside, a.patients, seed=seed)


class GroupAUC(Aggregator):
    """The area under the ROC curve of scores that are higher for members (`inside`) than for others (`outside`)."""

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return the area against the base's on the same images, or against chance."""
        value, replicates = self._estimate(ours, seed)
        found = percentile_interval(value, replicates, ours.num_patients)
        if base is None:
            return Summary(found, 0.5, p_above_zero(worse * (replicates - 0.5)), "null: chance")
        theirs, base_replicates = self._estimate(base, seed)
        null = percentile_interval(theirs, base_replicates, ours.num_patients)
        return Summary(found, null, p_above_zero(worse * (replicates - base_replicates)), "null: the base, paired")

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return bootstrap replicates of the area."""
        return self._estimate(values, seed)[1]

    def value(self, values: Values) -> float:
        """Return the area."""
        return self._estimate(values, 0, num_replicates=1)[0]

    def _estimate(self, values: Values, seed: int, num_replicates: int = 2000) -> tuple[float, np.ndarray]:
        assert values.outside is not None
        return auc_replicates(
            values.inside, values.outside, values.patients, values.outside_patients, num_replicates, seed
        )


@dataclass(frozen=True)
class TPRAtFPR(Aggregator):
    """The share of members that is found at a false-positive rate.

    Args:
        fpr: The rate, in (0, 1).
    """

    fpr: float

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return the share against the base's on the same images, or against the rate itself."""
        found, theirs = self._estimate(ours, seed), self._estimate(base, seed)
        if found is None:
            assert ours.outside is not None
            return Summary(None, self.fpr, None, f"needs {10 / self.fpr:.0f} held-out images, has {len(ours.outside)}")
        value = percentile_interval(*found, ours.num_patients)
        if theirs is None:
            return Summary(value, self.fpr, p_above_zero(worse * (found[1] - self.fpr)), "null: chance")
        null = percentile_interval(*theirs, ours.num_patients)
        return Summary(value, null, p_above_zero(worse * (found[1] - theirs[1])), "null: the base, paired")

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return bootstrap replicates of the share; none with too few others."""
        found = self._estimate(values, seed)
        return np.zeros(0) if found is None else found[1]

    def value(self, values: Values) -> float:
        """Return the share."""
        found = self._estimate(values, 0)
        return float("nan") if found is None else found[0]

    def _estimate(self, values: Values | None, seed: int) -> tuple[float, np.ndarray] | None:
        if values is None:
            return None
        assert values.outside is not None
        inside, outside = values.inside.numpy(), values.outside.numpy()
        return tpr_replicates(inside, outside, values.patients, values.outside_patients, self.fpr, seed=seed)


Statistic = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class SampleDistance(Aggregator):
    """A statistic of two samples of features, such as FID.

    Args:
        statistic: Maps both samples' features to the statistic of those rows that are kept of either.
        num_replicates: Random halves of the jackknife.
    """

    statistic: Callable[[Tensor, Tensor], Statistic]
    num_replicates: int = 100
    keeps_values = False

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return the statistic with its jackknife interval, and the base's."""
        return Summary(self._interval(ours, seed), self._interval(base, seed) if base is not None else None)

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return jackknife replicates around the statistic."""
        assert values.outside is not None
        statistic = self.statistic(values.inside, values.outside)
        return jackknife_replicates(statistic, values.patients, values.outside_patients, self.num_replicates, seed)[1]

    def value(self, values: Values) -> float:
        """Return the statistic of all rows."""
        assert values.outside is not None
        rows = np.arange(len(values.inside)), np.arange(len(values.outside))
        return self.statistic(values.inside, values.outside)(*rows)

    def difference(self, a: Values, b: Values, seed: int) -> Interval | None:
        """Return the difference with a normal interval from the paired halves."""
        if not _are_paired(a, b):
            return None
        spread = self.replicates(b, seed) - self.replicates(a, seed)
        if not len(spread):
            return None
        gap, reach = self.value(b) - self.value(a), 1.959964 * float(np.std(spread, ddof=1))
        return Interval(gap, gap - reach, gap + reach, a.num_patients)

    def _interval(self, values: Values, seed: int) -> Interval:
        assert values.outside is not None
        statistic = self.statistic(values.inside, values.outside)
        return jackknife_interval(
            statistic, values.patients, values.outside_patients, num_replicates=self.num_replicates, seed=seed
        )


@dataclass(frozen=True)
class Figure(Aggregator):
    """One number of all values together, without replicates.

    Args:
        number: Maps values to the number.
        reach: Half of its 95 % interval, or NaN where it has none.
        chance: Null where there is no base, if there is one.
        note: What a reader must know.
    """

    number: Callable[[Values], float]
    reach: float = field(default=float("nan"))
    chance: float | None = None
    note: str = ""
    keeps_values = False

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return the number and the base's."""
        value = self.number(ours)
        interval = Interval(value, value - self.reach, value + self.reach, len(set(ours.outside_patients)))
        return Summary(interval, self.number(base) if base is not None else self.chance, None, self.note)

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return none."""
        return np.zeros(0)

    def value(self, values: Values) -> float:
        """Return the number."""
        return self.number(values)


def _are_paired(a: Values, b: Values) -> bool:
    """Whether two models' values are of the same patients, on both sides."""
    return list(a.patients) == list(b.patients) and list(a.outside_patients) == list(b.outside_patients)


def rows_of(statistic: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor) -> Statistic:
    """Return a statistic of features as a function of the rows that are kept."""
    return lambda i, j: statistic(a[torch.from_numpy(i)], b[torch.from_numpy(j)])
