"""P-values are exact where patients are exchangeable, whatever the values, and see what there is to see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import permutation_test

from memcontrol.measures.aggregators import GroupAUC, TPRAtFPR, Values
from memcontrol.measures.functional.membership import hits_at_fpr, tpr_of_labels
from memcontrol.measures.statistics import permutation
from memcontrol.measures.statistics.permutation import Pooled, exchangeable, p_gap, p_labels, p_mean
from memcontrol.measures.statistics.pvalues import p_exceed
from memcontrol.measures.statistics.tails import p_beyond


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
    pooled = Pooled.of(values[:300], values[300:], names[:300], names[300:])
    exact = p_labels(pooled, pooled.auc, 0, two_sided=True, is_normal=True)
    monkeypatch.setattr(permutation, "MANY", 100)
    fast = p_labels(pooled, pooled.auc, 0, two_sided=True, is_normal=True)
    assert fast == pytest.approx(exact, rel=0.3, abs=2e-3)
    assert fast != exact


def test_rare_hits_never_count_as_normal(monkeypatch):
    """Of 3,000 patients few lie beyond the threshold, and their number is skewed."""
    monkeypatch.setattr(permutation, "LABELINGS", 199)
    rng, found = np.random.default_rng(0), []
    names = [[f"{side}{i}" for i in range(1500)] for side in ("a", "b")]
    for seed in range(100):
        inside, outside = rng.normal(size=(2, 1500))
        share = tpr_of_labels(inside, outside, *names, 0.005)
        found.append(p_labels(Pooled.of(inside, outside, *names), share, seed))
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert min(found) * 200 == pytest.approx(round(min(found) * 200))  # counted, not computed


@pytest.mark.parametrize("counts", [((10, 1), (60, 5)), ((40, 1), (40, 5)), ((120, 6), (20, 1))])
def test_areas_with_other_numbers_of_images_on_either_side_raise_no_more_alarms(counts, monkeypatch):
    """A hospital's own test split of one image of each patient, or few images that were repeated on purpose."""
    monkeypatch.setattr(permutation, "LABELINGS", 299)
    rng, found = np.random.default_rng(0), []
    names = [
        [f"{side}{i}" for i in range(number) for _ in range(each)]
        for side, (number, each) in zip("ab", counts, strict=True)
    ]
    for seed in range(200):
        sides = [
            torch.from_numpy(np.repeat(0.4 * rng.normal(size=number), each) + rng.normal(size=number * each))
            for number, each in counts
        ]
        found.append(GroupAUC().summarize(Values(sides[0], names[0], sides[1], names[1]), None, 1, seed).p)
    for level in (0.05, 0.2):
        assert np.mean(np.array(found) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 200)


def test_all_images_count_where_patients_have_about_as_many():
    rng = np.random.default_rng(0)
    a, b = patients(rng, 40, "a"), patients(rng, 25, "b")
    rows = exchangeable(a, b)
    assert [len(side) for side in rows] == [len(a), len(b)]
    rows = exchangeable(a, [f"b{i}" for i in range(25)])
    assert [a[row] for row in rows[0]] == sorted(set(a), key=a.index)
    assert len(rows[1]) == 25


def test_what_all_share_gives_no_member_away():
    """The untouched base's scores are all the same, and nothing of them is found; the model's are told from it."""
    rng = np.random.default_rng(0)
    names = [[f"{side}{i}" for i in range(number)] for side, number in (("a", 200), ("b", 1000))]
    ours = Values(torch.from_numpy(rng.normal(4, 1, 200)), names[0], torch.from_numpy(rng.normal(0, 1, 1000)), names[1])
    base = Values(torch.zeros(200), names[0], torch.zeros(1000), names[1])
    labels = Pooled.of(base.inside, base.outside, *names).labels
    assert tpr_of_labels(base.inside.numpy(), base.outside.numpy(), *names, 0.01)(labels) == 0
    hits = hits_at_fpr(ours.inside.numpy(), ours.outside.numpy(), 0.01)
    assert tpr_of_labels(ours.inside.numpy(), ours.outside.numpy(), *names, 0.01)(labels) == hits.mean()
    assert TPRAtFPR(0.01).summarize(ours, base, 1, 0).p == pytest.approx(1e-4)


def test_what_is_no_number_is_neither_a_leak_nor_clean():
    names = [[f"{side}{i}" for i in range(20)] for side in "ab"]
    values = np.arange(20.0)
    broken = np.where(values == 3, np.nan, values)
    assert np.isnan(p_gap(broken, values, *names, 0))
    assert np.isnan(p_mean(broken, names[0], 0))
    assert np.isnan(p_exceed(torch.from_numpy(values), names[0], torch.from_numpy(broken), names[1], 1))
    assert np.isnan(p_beyond(broken, values)).sum() == 1
