"""P-values are exact where patients are exchangeable, whatever the values, and see what there is to see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from memcontrol.measures.functional.membership import tpr_of_labels
from memcontrol.measures.statistics import permutation
from memcontrol.measures.statistics.permutation import Pooled, p_gap, p_labels, p_mean


def patients(rng, count, prefix):
    return [f"{prefix}{i}" for i in range(count) for _ in range(rng.integers(1, 6))]


def clustered(rng, names):
    """Return skewed values, alike within patients."""
    _, owner = np.unique(names, return_inverse=True)
    return np.exp(rng.normal(size=owner.max() + 1)[owner] + 0.3 * rng.normal(size=len(names)))


def auc_p(inside, outside, a, b, seed):
    pooled = Pooled.of(inside, outside, a, b)
    return p_labels(pooled, pooled.auc, seed, two_sided=True)


def tpr_p(inside, outside, a, b, seed):
    return p_labels(Pooled.of(inside, outside, a, b), tpr_of_labels(inside, outside, a, b, 0.1), seed)


def sign_p(inside, outside, a, b, seed):
    _, owner = np.unique(a, return_inverse=True)
    return p_mean(inside * np.random.default_rng(seed).choice([-1, 1], owner.max() + 1)[owner], a, seed)


@pytest.mark.parametrize("test", [p_gap, auc_p, tpr_p, sign_p])
def test_false_alarms_are_as_rare_as_they_say(test, monkeypatch):
    monkeypatch.setattr(permutation, "LABELINGS", 499)
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        a, b = patients(rng, 12, "a"), patients(rng, 25, "b")
        found.append(test(clustered(rng, a), clustered(rng, b), a, b, seed))
    for level in (0.01, 0.05, 0.2):
        assert np.mean(np.array(found) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 400)
    assert np.mean(np.array(found) <= 0.5) > 0.3  # and they are not afraid of their shadow


@pytest.mark.parametrize(("trained", "held_out"), [((54, 1), (19, 3)), ((20, 3), (60, 1))])
def test_groups_with_more_pictures_of_each_patient_raise_no_more_alarms(trained, held_out, monkeypatch):
    """As many pictures are drawn for the few held-out patients as for the many others; one in twenty hugs an image."""
    monkeypatch.setattr(permutation, "LABELINGS", 499)
    rng, found = np.random.default_rng(0), []
    names = [[f"p{i}" for i in range(number) for _ in range(each)] for number, each in (trained, held_out)]
    for seed in range(200):
        inside, outside = (np.float64(rng.random(len(of)) < 0.05) for of in names)
        found.append(p_gap(inside, outside, *names, seed))
    for level in (0.01, 0.05, 0.2):
        assert np.mean(np.array(found) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 200)


def test_a_patient_counts_with_as_many_values_as_every_patient_has():
    names = ["a", "a", "a", "b", "b"]
    others = ["c", "d", "d", "c", "c"]
    cut = p_gap([1.0, 2.0, 5.0, 4.0], [0.5], [*names[:2], *names[3:]], ["c"], 0)
    assert p_gap([1.0, 2.0, 9.0, 5.0, 4.0], [0.5, 3.0, 1.0, 2.5, 7.0], names, others, 0) == p_gap(
        [1.0, 2.0, 5.0, 4.0], [0.5, 3.0, 1.0, 2.5], [*names[:2], *names[3:]], others[:4], 0
    )
    assert cut == p_gap([1.0, 5.0], [0.5], ["a", "b"], ["c"], 0)


def test_it_equals_scipy_s():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, 20), rng.normal(0, 1, 30)
    expected = permutation_test(
        (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), alternative="greater", n_resamples=9999, rng=0
    )
    names = [str(i) for i in range(50)]
    assert p_gap(a, b, names[:20], names[20:], 0) == pytest.approx(expected.pvalue, rel=0.15)


def test_area_of_the_labels_as_they_are():
    pooled = Pooled.of([2.0, 3.0], [0.0, 2.5], ["a", "b"], ["c", "d"])
    assert pooled.auc(pooled.labels)[0] == 0.75


def test_lower_scores_of_members_are_a_leak_too():
    rng, names = np.random.default_rng(0), [str(i) for i in range(80)]
    low, high = rng.normal(-1, 1, 40), rng.normal(0, 1, 40)
    assert auc_p(low, high, names[:40], names[40:], 0) < 1e-3
    assert auc_p(high, low, names[:40], names[40:], 0) < 1e-3


@pytest.mark.parametrize("many", [2000, 10])
@pytest.mark.parametrize("test", [p_gap, auc_p])
def test_values_that_are_all_the_same_tell_nothing(monkeypatch, many, test):
    monkeypatch.setattr(permutation, "MANY", many)
    names = [str(i) for i in range(60)]
    assert test(np.zeros(30), np.zeros(30), names[:30], names[30:], 0) == 1.0


def test_many_patients_count_as_normal(monkeypatch):
    rng, names = np.random.default_rng(0), [str(i) for i in range(600)]
    values = rng.normal(0, 1, 600)
    values[:300] += 0.15
    exact = [auc_p(values[:300], values[300:], names[:300], names[300:], 0), p_mean(values[:300], names[:300], 0)]
    monkeypatch.setattr(permutation, "MANY", 100)
    fast = [auc_p(values[:300], values[300:], names[:300], names[300:], 0), p_mean(values[:300], names[:300], 0)]
    assert fast == pytest.approx(exact, rel=0.3, abs=2e-3)
