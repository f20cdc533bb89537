"""One patient among many: his p-value holds, and he is found from the loss on that the note names."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from memcontrol.measures import MEASURES
from memcontrol.measures.aggregators import Values
from memcontrol.measures.statistics.tails import beyond, by_patient, p_beyond
from memcontrol.measures.worst import StandsOut

DRAWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "logistic": lambda rng, size: rng.logistic(size=size),
    "Student with 10": lambda rng, size: rng.standard_t(10, size=size),
}


@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize(("n", "m"), [(20, 20), (64, 110), (1000, 200)])
def test_false_alarms_are_rare(kind, n, m):
    rng, rounds = np.random.default_rng(0), 1000
    found = [n * p_beyond(DRAWS[kind](rng, n).max(keepdims=True), DRAWS[kind](rng, m))[0] for _ in range(rounds)]
    assert np.mean(np.array(found) < 0.01) <= 0.02
    assert np.mean(np.array(found) < 0.05) <= 0.08


def test_p_values_fall_with_the_value_and_have_an_inverse():
    null = np.random.default_rng(0).normal(size=100)
    values = np.linspace(-3, 12, 300)
    p = p_beyond(values, null)
    assert (np.diff(p) <= 0).all()
    assert p[0] == pytest.approx(1.0)
    assert p_beyond(np.array([beyond(1e-5, null)]), null)[0] == pytest.approx(1e-5)


def test_few_or_equal_values_tell_nothing():
    assert p_beyond(np.array([100.0]), np.arange(2.0))[0] >= 1 / 3
    assert p_beyond(np.array([100.0]), np.ones(50))[0] == pytest.approx(1 / 51)
    assert beyond(1e-5, np.ones(50)) == np.inf


def test_patients_are_put_together():
    values, names = np.array([1.0, 3.0, 5.0]), ["b", "a", "b"]
    assert [x.tolist() for x in by_patient(values, names)] == [["a", "b"], [3.0, 3.0]]
    assert by_patient(values, names, largest=True)[1].tolist() == [3.0, 5.0]


def sides(rng, n, m):
    names = [str(i) for i in range(max(n, m))]
    inside, outside = (torch.from_numpy(rng.normal(0.3, 0.1, size=size)) for size in (n, m))
    return Values(inside, names[:n], outside, names[:m])


def test_the_patient_that_the_note_promises_is_found():
    measure, found = MEASURES["membership_worst"], 0
    for seed in range(100):
        values = sides(np.random.default_rng(seed), 1000, 200)
        assert StandsOut().summarize(values, None, 1, 0).p > 0.001
        share = float(re.search(r"falls to (\S+) of", measure.note(values, None, ""))[1])
        values.inside[7] = 0.3 - np.log(share) + 0.05
        found += StandsOut().summarize(values, None, 1, 0).p < 0.001
    assert found >= 95


def test_the_distance_is_in_standard_deviations():
    values = sides(np.random.default_rng(0), 50, 2000)
    values.inside[3] = 1.3
    assert StandsOut().value(values) == pytest.approx(10.0, rel=0.1)


def test_a_tail_begins_at_a_value_of_the_null():
    """A further value lies above the fifth largest of twenty with a probability of 5 / 21."""
    null = np.arange(20.0)
    assert p_beyond(np.array([15 + 1e-9]), null)[0] == pytest.approx(5 / 21)
    assert beyond(5 / 21, null) == pytest.approx(15)
