"""From values per image to tests, differences and notes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from memcontrol.measures.aggregators import (
    AboveBase,
    AboveOutside,
    GroupAUC,
    PatientMean,
    RiseAboveOutside,
    SampleDistance,
    Test,
    Values,
)
from memcontrol.measures.functional.kernel import kernel_statistic

N = 60
PATIENTS, OTHERS = [f"p{i}" for i in range(N)], [f"q{i}" for i in range(N)]


def draws(seed, shift=0.0, width=()):
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, size=(N, *width)))


def values(inside, outside=None):
    return Values(inside, PATIENTS, outside, OTHERS if outside is not None else ())


class Says(Test):
    def __init__(self, words, p):
        self.words, self.answer = words, p

    def p(self, ours, base, worse, seed):
        return self.answer


def summary(*tests, outside=None):
    return PatientMean(tests).summarize(values(draws(0), outside), None, 1, 0)


def test_p_is_the_largest_of_the_tests():
    found = summary(Says("x", 0.2), Says("y", 0.7), Says("z", 0.1))
    assert (found.p, found.note) == (0.7, "tested against x and y and z")
    found = summary(Says("x", 0.2), Says("y", None))
    assert (found.p, found.note) == (0.2, "tested against x")


def test_nothing_to_test_against():
    found = summary(AboveBase(), RiseAboveOutside())
    assert (found.p, found.note) == (None, "not tested: there is nothing to compare with")
    assert (summary().p, summary().note) == (None, "")


def test_mean_above_the_base_is_a_paired_test():
    ours, base = draws(1), draws(1) - 0.2 + 0.5 * draws(2)
    gap = (ours - base).numpy()
    expected = norm.sf(gap.mean() / (gap.std() / np.sqrt(N)))
    assert 1e-4 < expected < 0.1
    found = PatientMean((AboveBase(),)).summarize(values(ours), values(base), 1, 0)
    assert found.p == pytest.approx(expected, rel=0.35)
    assert found.note == "tested against the base"
    assert found.value.value == pytest.approx(float(ours.mean()))
    assert found.null.value == pytest.approx(float(base.mean()))
    turned = PatientMean((AboveBase(),)).summarize(values(ours), values(base), -1, 0)
    assert turned.p == pytest.approx(1 - found.p, abs=1e-3)


def test_mean_above_outside_is_a_test_of_two_groups():
    ours, outside = draws(1, 0.4), draws(2)
    spread = np.sqrt((ours.numpy().var() + outside.numpy().var()) / N)
    expected = norm.sf(float(ours.mean() - outside.mean()) / spread)
    assert 1e-4 < expected < 0.2
    found = summary_of(ours, outside)
    assert found.p == pytest.approx(expected, rel=0.35)
    assert found.null.value == pytest.approx(float(outside.mean()))
    assert found.note == "tested against what the same model draws for held-out prompts"


def summary_of(ours, outside):
    return PatientMean((AboveOutside(),)).summarize(values(ours, outside), None, 1, 0)


def test_rise_above_outside_is_over_the_base():
    ours, base = values(draws(1) + 1, draws(2) + 0.9), values(draws(1), draws(2) + 0.9)
    tests = (RiseAboveOutside(),)
    assert PatientMean(tests).summarize(ours, base, 1, 0).p == 1e-4  # all rise by 1, the others by nothing
    assert PatientMean(tests).summarize(base, ours, 1, 0).p == 1
    assert PatientMean(tests).summarize(ours, values(draws(1)), 1, 0).p is None


def test_auc_says_what_it_is_tested_against():
    ours, base = values(draws(1, 1.0), draws(2)), values(draws(1), draws(2))
    alone, paired = (GroupAUC().summarize(ours, other, 1, 0) for other in (None, base))
    assert (alone.null, alone.note) == (0.5, "null: chance")
    above = (base.inside[:, None] > base.outside).double().mean()
    assert (paired.null.value, paired.note) == (pytest.approx(float(above)), "null: the base, paired")
    assert max(alone.p, paired.p) < 1e-3
    same = values(draws(1, 1.0) + 0.01 * draws(3), draws(2))
    assert GroupAUC().summarize(ours, same, 1, 0).p > 0.2  # above chance, but not above that


@pytest.mark.parametrize(
    ("aggregator", "near", "far"),
    [
        (GroupAUC(), values(draws(1, 0.2), draws(2)), values(draws(1, 1.0), draws(2))),
        (
            SampleDistance(kernel_statistic),
            values(draws(1, 0.2, (3,)), draws(2, width=(3,))),
            values(draws(1, 1.5, (3,)), draws(2, width=(3,))),
        ),
    ],
)
def test_difference_is_the_second_minus_the_first(aggregator, near, far):
    same = aggregator.difference(near, near, 0)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    up, down = aggregator.difference(near, far, 0), aggregator.difference(far, near, 0)
    assert 0 < up.low < up.value < up.high
    assert up.value == pytest.approx(aggregator.value(far) - aggregator.value(near))
    assert down.high < 0
    assert down.value == pytest.approx(-up.value)
    others = Values(far.inside, OTHERS, far.outside, PATIENTS)
    assert aggregator.difference(near, others, 0) is None
