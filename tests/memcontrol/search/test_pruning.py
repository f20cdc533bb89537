"""A trial is given up only where it is beaten beyond its intervals and behind the better fronts of its rung."""

from __future__ import annotations

import numpy as np
import pytest

from memcontrol.measures import Measurement, Point
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.search.pruning import is_hopeless


def measured(value, half, higher=False):
    return Measurement("m", "quality", Interval(value, value - half, value + half, 9), None, higher)


def rung(*rewards):
    return [Point(1, pair) for pair in rewards]


BETTER = rung(*[(-0.5, -0.1)] * 5)


def test_beaten_beyond_its_intervals():
    assert is_hopeless([measured(0.8, 0.02), measured(0.3, 0.02)], BETTER)


def test_too_few_others():
    mine = [measured(0.8, 0.02), measured(0.3, 0.02)]
    assert not is_hopeless(mine, BETTER[:3])
    assert is_hopeless(mine, BETTER[:4])


def test_better_in_one_objective():
    assert not is_hopeless([measured(0.8, 0.02), measured(0.05, 0.02)], BETTER)


@pytest.mark.parametrize(
    ("half", "level", "expected"),
    [  # of five rivals, each at 2 %: 2.054 / 1.96 = 1.048 of half a 95 % interval; the others are 0.3 away
        (0.28, 0.1, True),
        (0.29, 0.1, False),
        (0.22, 0.025, True),
        (0.235, 0.025, False),
    ],
)
def test_reach_of_the_intervals(half, level, expected):
    assert is_hopeless([measured(0.8, half), measured(0.3, 0.02)], BETTER, level=level) is expected


def test_keep_is_the_share_on_better_fronts():
    others = rung((-0.5, -0.1), *[(-0.9, -0.4 - i / 100) for i in range(9)])
    mine = [measured(0.8, 0.02), measured(0.3, 0.02)]
    assert is_hopeless(mine, others, keep=0.1)
    assert not is_hopeless(mine, others, keep=0.11)
    beside = rung((-0.5, -0.1), *[(-0.9, -0.2)] * 9)  # on the same front
    assert is_hopeless(mine, beside, keep=0.1)
    assert not is_hopeless(mine, beside, keep=0.11)


def test_higher_is_better_turns_around():
    others = rung(*[(0.5, -0.1)] * 5)
    kid = measured(0.3, 0.02)
    assert is_hopeless([measured(0.3, 0.02, higher=True), kid], others)
    assert not is_hopeless([measured(0.3, 0.4, higher=True), kid], others)
    assert not is_hopeless([measured(0.8, 0.02, higher=True), kid], others)


def test_equal_trials_are_rarely_given_up():
    """Whatever their number: each has noise of its own, as this one has."""
    rng, given_up = np.random.default_rng(0), 0
    for _ in range(300):
        values = rng.normal(0.5, 0.1, size=(24, 2))
        others = [
            Point(1, (-a, -b), {"a": Interval(a, a - 0.196, a + 0.196, 9), "b": Interval(b, b - 0.196, b + 0.196, 9)})
            for a, b in values[1:]
        ]
        mine = [
            Measurement(name, "quality", Interval(v, v - 0.196, v + 0.196, 9), None, False)
            for name, v in zip("ab", values[0], strict=True)
        ]
        given_up += is_hopeless(mine, others, level=0.1)
    assert given_up <= 30 + 3 * np.sqrt(27)
