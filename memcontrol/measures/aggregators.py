"""From values per image to a value with interval, null, test and pairing: a measure only says what its values are.

| aggregator | of what | interval | null without a base |
| --- | --- | --- | --- |
| `PatientMean` | one value per image | studentized bootstrap over patients, exact for shares | that of `outside` |
| `GroupAUC` | scores of two groups | jackknife over the patients of both, of the log odds | 0.5 |
| `TPRAtFPR` | scores of two groups | exact, at the threshold that others set | the false-positive rate |
| `SampleDistance` | features of two samples | jackknife over the patients of both | - |
| `RankZ` | values of two groups | 1.96, by what exchanging labels gives | 0 |
| `Figure` | whatever gives one number | as the measure says | as the measure says |

Replicates over the same patients are paired, so that differences between models have intervals too. P-values come from
exchanging labels of patients, or signs of their differences (see `memcontrol.measures.statistics.permutation`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from memcontrol.measures.functional.membership import hits_at_fpr, tpr_of_labels
from memcontrol.measures.statistics.areas import auc_deviations, auc_interval
from memcontrol.measures.statistics.intervals import Z95, Interval, mean_interval
from memcontrol.measures.statistics.jackknife import Deviations, Statistic, by_groups, of_mean
from memcontrol.measures.statistics.permutation import (
    Labels,
    Pooled,
    exchangeable,
    p_gap,
    p_labels,
    p_mean,
    spread_of_labels,
)
from memcontrol.measures.statistics.shares import is_share, share_interval

__all__ = [
    "AboveBase",
    "AboveOutside",
    "Aggregator",
    "Figure",
    "GroupAUC",
    "PatientMean",
    "RankZ",
    "RiseAboveOutside",
    "SampleDistance",
    "Summary",
    "TPRAtFPR",
    "Test",
    "Values",
]

MOST_IN_PAIRS: Final = 1000
"""Images up to which pairs of groups are left out too."""


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
        control: A second thing that `raw` is held against, where a test has one, with shape `(c,)`.
        control_patients: Patient of each of these.
    """

    inside: Tensor
    patients: Sequence[str]
    outside: Tensor | None = None
    outside_patients: Sequence[str] = ()
    raw: Tensor | None = None
    rank: int = 1
    control: Tensor | None = None
    control_patients: Sequence[str] = ()

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
        p: P-value of "worse than the null", or None where it is not tested.
        note: What a reader must know.
        spread: Standard deviation of the value if patients' labels told nothing, where that is known: its power.
    """

    value: Interval | None
    null: Interval | float | None = None
    p: float | None = None
    note: str = ""
    spread: float | None = None


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
        far = float(student.isf(0.025, max(1, a.num_patients - 1)))
        gap, reach = self.value(b) - self.value(a), far * float(np.std(two - one, ddof=1))
        return Interval(gap, gap - reach, gap + reach, a.num_patients)

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
        value = _mean(ours.inside, ours.patients, seed)
        null = _mean(base.inside, base.patients, seed) if base is not None else None
        made = {test.words: test.p(ours, base, worse, seed) for test in self.tests}
        ps = {words: p for words, p in made.items() if p is not None}
        if not self.tests:
            return Summary(value, null)
        if not ps:
            return Summary(value, null, None, "not tested: there is nothing to compare with")
        if null is None and ours.outside is not None and AboveOutside.words in ps:
            null = _mean(ours.outside, ours.outside_patients, seed)
        return Summary(value, null, max(ps.values()), f"tested against {' and '.join(ps)}")

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return replicates of the mean, patient by patient."""
        return of_mean(values.inside, values.patients).replicates

    def value(self, values: Values) -> float:
        """Return the mean."""
        return float(np.mean(np.asarray(values.inside, dtype=np.float64)))

    def difference(self, a: Values, b: Values, seed: int) -> Interval | None:
        """Return the mean of the paired differences."""
        if list(a.patients) != list(b.patients):
            return None
        gap = b.inside - a.inside
        if is_share(a.inside) and is_share(b.inside) and not gap.any():
            reach = share_interval(gap, a.patients).high  # no difference in any patient says as much as no hit does
            return Interval(0.0, -reach, reach, a.num_patients)
        return mean_interval(gap, a.patients, seed=seed)


class GroupAUC(Aggregator):
    """The area under the ROC curve of scores that are higher for members (`inside`) than for others (`outside`).

    Its test is two-sided: a model that treats its members worse than others gives them away too.
    """

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return the area against the base's on the same images, or against chance."""
        found = _area(ours)
        pooled = _pooled(_exchangeable(ours))
        if base is None:
            p = p_labels(pooled, pooled.auc, seed, two_sided=True, is_normal=True)
            return Summary(found, 0.5, p, "null: chance", spread_of_labels(pooled, pooled.auc, seed))
        theirs = _pooled(_exchangeable(base))

        def rise(labels: Labels) -> np.ndarray:
            found: np.ndarray = pooled.auc(labels) - theirs.auc(labels)
            return found

        p = p_labels(pooled, rise, seed, two_sided=True, is_normal=True)
        return Summary(found, _area(base), p, "null: the base, paired", spread_of_labels(pooled, rise, seed))

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return replicates of the area, patient by patient."""
        assert values.outside is not None
        return auc_deviations(values.inside, values.outside, values.patients, values.outside_patients).replicates

    def value(self, values: Values) -> float:
        """Return the area."""
        return _area(values).value


@dataclass(frozen=True)
class TPRAtFPR(Aggregator):
    """The share of members that is found at a false-positive rate; its interval is for the threshold that others set.

    Args:
        fpr: The rate, in (0, 1).
    """

    fpr: float

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return the share against the base's on the same images, or against the rate itself."""
        assert ours.outside is not None
        if not self._is_estimable(ours):
            return Summary(None, self.fpr, None, f"needs {10 / self.fpr:.0f} held-out images, has {len(ours.outside)}")
        found, tested = self._share(ours), _exchangeable(ours)
        pooled, share = _pooled(tested), self._of_labels(tested)
        if base is None:
            return Summary(found, self.fpr, p_labels(pooled, share, seed), "null: chance")
        theirs = self._of_labels(_exchangeable(base))
        p = p_labels(pooled, lambda labels: share(labels) - theirs(labels), seed)
        return Summary(found, self._share(base), p, "null: the base, paired")

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return replicates of the share, patient by patient; none with too few others."""
        return of_mean(self._hits(values), values.patients).replicates if self._is_estimable(values) else np.zeros(0)

    def value(self, values: Values) -> float:
        """Return the share."""
        return float(self._hits(values).mean()) if self._is_estimable(values) else float("nan")

    def _is_estimable(self, values: Values) -> bool:
        assert values.outside is not None
        return len(values.outside) >= 10 / self.fpr

    def _hits(self, values: Values) -> np.ndarray:
        assert values.outside is not None
        return hits_at_fpr(values.inside.numpy(), values.outside.numpy(), self.fpr)

    def _share(self, values: Values) -> Interval:
        return share_interval(self._hits(values), values.patients)

    def _of_labels(self, values: Values) -> Callable[[Labels], np.ndarray]:
        assert values.outside is not None
        inside, outside = values.inside.numpy(), values.outside.numpy()
        return tpr_of_labels(inside, outside, values.patients, values.outside_patients, self.fpr)


@dataclass(frozen=True)
class SampleDistance(Aggregator):
    """A statistic of two samples of features, such as FID.

    Args:
        statistic: Maps both samples' features to the statistic of those rows that are kept of either.
        low: Smallest value that the statistic can have.
        high: Largest value that it can have.
        pairs: Whether its standard error is corrected near equality of the samples (ten times the work).
    """

    statistic: Callable[[Tensor, Tensor], Statistic]
    low: float = -np.inf
    high: float = np.inf
    pairs: bool = False
    keeps_values = False

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return the statistic with its jackknife interval, and the base's."""
        null = self.deviations(base, seed).interval(self.low, self.high) if base is not None else None
        return Summary(self.deviations(ours, seed).interval(self.low, self.high), null)

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return jackknife replicates around the statistic."""
        return self.deviations(values, seed).replicates

    def value(self, values: Values) -> float:
        """Return the statistic of all rows."""
        assert values.outside is not None
        rows = np.arange(len(values.inside)), np.arange(len(values.outside))
        return self.statistic(values.inside, values.outside)(*rows)

    def deviations(self, values: Values, seed: int) -> Deviations:
        """Return what becomes of the statistic without some of the patients."""
        assert values.outside is not None
        statistic = self.statistic(values.inside, values.outside)
        pairs = self.pairs and max(len(values.inside), len(values.outside)) <= MOST_IN_PAIRS
        return by_groups(statistic, values.patients, values.outside_patients, seed, pairs)


class RankZ(Aggregator):
    """How far values lie above others by their ranks, in standard deviations of what labels of patients give."""

    keeps_values = False

    def summarize(self, ours: Values, base: Values | None, worse: int, seed: int) -> Summary:
        """Return the z score and the base's."""
        value = self.value(ours)
        null = self.value(base) if base is not None else 0.0
        return Summary(Interval(value, value - Z95, value + Z95, ours.num_patients), null)

    def replicates(self, values: Values, seed: int) -> np.ndarray:
        """Return none."""
        return np.zeros(0)

    def value(self, values: Values) -> float:
        """Return the z score."""
        pooled = _pooled(values)
        spread = spread_of_labels(pooled, pooled.auc, 0)
        return float((pooled.auc(pooled.labels)[0] - 0.5) / spread) if spread else 0.0


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


def _mean(values: Tensor, patients: Sequence[str], seed: int) -> Interval:
    return share_interval(values, patients) if is_share(values) else mean_interval(values, patients, seed=seed)


def _area(values: Values) -> Interval:
    assert values.outside is not None
    return auc_interval(values.inside, values.outside, values.patients, values.outside_patients)


def _exchangeable(values: Values) -> Values:
    """Return the values with which patients of both sides can be exchanged, see `exchangeable`."""
    assert values.outside is not None
    a, b = exchangeable(values.patients, values.outside_patients)
    names = [values.patients[row] for row in a], [values.outside_patients[row] for row in b]
    return Values(values.inside[a], names[0], values.outside[b], names[1])


def _pooled(values: Values) -> Pooled:
    assert values.outside is not None
    return Pooled.of(values.inside, values.outside, values.patients, values.outside_patients)


def _are_paired(a: Values, b: Values) -> bool:
    """Whether two models' values are of the same patients, on both sides."""
    return list(a.patients) == list(b.patients) and list(a.outside_patients) == list(b.outside_patients)


def rows_of(statistic: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor) -> Statistic:
    """Return a statistic of features as a function of the rows that are kept."""
    return lambda i, j: statistic(a[torch.from_numpy(i)], b[torch.from_numpy(j)])
