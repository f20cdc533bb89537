"""Intervals hold what they say, on simulated data with known truth and patients with several images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memcontrol.measures.functional.frechet import frechet_distance
from memcontrol.measures.functional.kernel import kernel_statistic
from memcontrol.measures.functional.membership import membership_auc
from memcontrol.measures.statistics.intervals import jackknife_interval, mean_interval

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


def test_auc_covers():
    def one(rng):
        a, names_a = clustered(rng, 60, 2, 1, shift=0.5)
        b, names_b = clustered(rng, 60, 2, 1)
        return membership_auc(a[:, 0], b[:, 0], names_a, names_b)

    assert 0.90 <= coverage(one, 0.6382) <= 0.99  # Phi(0.5 / sqrt(2)) for unit variance


def distances(statistic_of):
    def one(rng):
        (a, names_a), (b, names_b) = clustered(rng, 75, 2, 6, shift=0.5), clustered(rng, 75, 2, 6)
        x, y = torch.tensor(a), torch.tensor(b)
        return jackknife_interval(statistic_of(x, y), names_a, names_b, num_replicates=40)

    return one


def frechet_statistic(x, y):
    return lambda i, j: frechet_distance(x[torch.from_numpy(i)], y[torch.from_numpy(j)])


@pytest.mark.parametrize("statistic_of", [frechet_statistic, kernel_statistic])
def test_distances_cover_their_expectation(statistic_of):
    one = distances(statistic_of)
    expected = np.mean([one(np.random.default_rng(10_000 + seed)).value for seed in range(400)])
    assert 0.90 <= coverage(one, expected) <= 0.99
