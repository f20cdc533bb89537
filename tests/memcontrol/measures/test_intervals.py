"""Intervals hold what they say, on simulated data with known truth and patients with several images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memcontrol.measures.functional.frechet import frechet_distance
from memcontrol.measures.functional.kernel import kernel_deviations, kernel_statistic
from memcontrol.measures.functional.membership import membership_auc
from memcontrol.measures.statistics.areas import auc_interval
from memcontrol.measures.statistics.intervals import clustered_mean, mean_interval
from memcontrol.measures.statistics.jackknife import by_groups, of_mean
from memcontrol.measures.statistics.shares import share_interval

RUNS = 200


def clustered(rng, patients, images, width, shift=0.0):
    centres = rng.normal(size=(patients, 1, width))
    values = shift + 0.7 * centres + 0.714 * rng.normal(size=(patients, images, width))
    names = [str(i) for i in range(patients) for _ in range(images)]
    return values.reshape(-1, width), names


def coverage(interval_of, truth):
    hits = [(found := interval_of(np.random.default_rng(seed))).low <= truth <= found.high for seed in range(RUNS)]
    return float(np.mean(hits))


def test_mean_covers():
    def one(rng):
        values, names = clustered(rng, 60, 3, 1, shift=0.3)
        return mean_interval(values[:, 0], names, num_replicates=500)

    assert 0.90 <= coverage(one, 0.3) <= 0.99


def skewed(rng, patients, share=None):
    """Return values of patients with one to twelve images, whose means are skewed."""
    counts = np.minimum(rng.geometric(0.35, patients) + (rng.random(patients) < 0.1) * rng.integers(0, 8, patients), 12)
    owner = np.repeat(np.arange(patients), counts)
    if share is not None:
        odds = rng.beta(3 * share, 3 * (1 - share), patients)
        return (rng.random(len(owner)) < odds[owner]).astype(float), [str(i) for i in owner]
    values = np.exp(0.6 * rng.normal(size=patients)[owner] + 0.4 * rng.normal(size=len(owner)))
    return values, [str(i) for i in owner]


@pytest.mark.parametrize("patients", [10, 20, 64])
def test_a_skewed_mean_covers(patients):
    truth = np.exp((0.6**2 + 0.4**2) / 2)
    found = coverage(lambda rng: mean_interval(*skewed(rng, patients), num_replicates=500), truth)
    assert 0.88 <= found <= 0.99  # percentiles of the mean: 0.85 with ten patients


@pytest.mark.parametrize(("share", "patients"), [(0.05, 20), (0.05, 64), (0.3, 20), (0.3, 64)])
def test_a_share_covers(share, patients):
    assert coverage(lambda rng: share_interval(*skewed(rng, patients, share)), share) >= 0.91


def test_nothing_found_has_a_bound():
    none = share_interval(np.zeros(60), [str(i // 3) for i in range(60)])
    assert (none.value, none.low, none.n) == (0.0, 0.0, 20)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 20))  # Clopper and Pearson's, of 20 patients
    every = share_interval(np.ones(60), [str(i // 3) for i in range(60)])
    assert every.low == pytest.approx(0.025 ** (1 / 20))


@pytest.mark.parametrize("patients", [20, 60])
@pytest.mark.parametrize(("shift", "truth"), [(0.0, 0.5), (0.5, 0.6382), (2.0, 0.9214)])
def test_auc_covers(patients, shift, truth):
    def one(rng):
        a, names_a = clustered(rng, patients, 2, 1, shift=shift)
        b, names_b = clustered(rng, patients, 2, 1)
        return membership_auc(a[:, 0], b[:, 0], names_a, names_b)

    assert 0.90 <= coverage(one, truth) <= 0.99  # truth: Phi(shift / sqrt(2)) for unit variance


def test_an_area_that_nothing_changes_has_an_interval():
    names = [str(i) for i in range(20)]
    found = auc_interval(np.arange(20) + 100.0, np.arange(20.0), names, names)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 20))
    assert auc_interval(np.arange(20.0), np.arange(20) + 100.0, names, names).high == pytest.approx(1 - found.low)


def frechet_statistic(x, y):
    return lambda i, j: frechet_distance(x[torch.from_numpy(i)], y[torch.from_numpy(j)])


DISTANCES = {
    "frechet": lambda x, y, a, b: by_groups(frechet_statistic(x, y), a, b),
    "kernel": kernel_deviations,
}


@pytest.mark.whole
@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("name", DISTANCES)
def test_distances_cover_their_expectation(name, shift):
    def one(rng):
        (a, names_a), (b, names_b) = clustered(rng, 40, 2, 6, shift=shift), clustered(rng, 40, 2, 6)
        return DISTANCES[name](torch.tensor(a), torch.tensor(b), names_a, names_b)

    runs = RUNS if name == "kernel" else RUNS // 3  # its matrix roots are slow
    found = [one(np.random.default_rng(10_000 + seed)) for seed in range(runs)]
    values = np.array([f.value for f in found])
    inside = [(ends := f.interval()).low <= values.mean() <= ends.high for f in found]
    assert 0.91 <= np.mean(inside) <= 1.0
    assert np.mean([f.error for f in found]) < 1.35 * values.std()  # halves of the patients: 1.7 times near equality


def test_the_kernel_s_jackknife_leaves_each_patient_out():
    (a, names_a), (b, names_b) = (clustered(np.random.default_rng(i), 12, 2, 6) for i in (0, 1))
    x, y = torch.tensor(a), torch.tensor(b)
    found, statistic = kernel_deviations(x, y, names_a, names_b), kernel_statistic(x, y)
    rows = np.arange(24)
    assert found.value == pytest.approx(statistic(rows, rows))
    for side in (0, 1):
        left = [
            statistic(*((kept, rows) if side == 0 else (rows, kept)))
            for patient in sorted(set(names_a))
            for kept in [np.flatnonzero(np.asarray(names_a) != patient)]
        ]
        assert found.without[side] == pytest.approx(np.array(left) - np.mean(left))


def test_replicates_have_the_standard_error():
    (a, names_a), (b, names_b) = (clustered(np.random.default_rng(i), 30, 2, 6) for i in (0, 1))
    found = kernel_deviations(torch.tensor(a), torch.tensor(b), names_a, names_b)
    assert np.std(found.replicates, ddof=1) == pytest.approx(found.error)
    mean = of_mean(a[:, 0], names_a)
    assert np.std(mean.replicates, ddof=1) == pytest.approx(clustered_mean(a[:, 0], names_a)[1], rel=1e-6)
