"""Patients are taken by coins of their own, and each of a patient's images has its turn."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest, chi2

from memcontrol.data.poisson import PoissonSampler
from memcontrol.privacy.secret import Secret

SIZES = [1, 1, 2, 3, 5, 8, 12, 1, 4, 2]
PATIENTS = [f"p{i}" for i, size in enumerate(SIZES) for _ in range(size)]


def sampler(rate=0.3, draws=4, key=b"k" * 32, **ranks):
    shuffled = np.random.default_rng(0).permutation(PATIENTS)
    return PoissonSampler(shuffled, rate, draws, Secret(key).generator, **ranks), shuffled


def test_each_patient_is_taken_at_the_rate_independently_of_the_others_and_of_its_images():
    found, _ = sampler()
    taken = np.zeros((4000, len(SIZES)))
    for number in range(len(taken)):
        taken[number, found.taken(number)] = 1
    for column in taken.T:
        assert binomtest(int(column.sum()), len(taken), 0.3).pvalue > 1e-4
    together = np.corrcoef(taken.T)[np.triu_indices(len(SIZES), 1)]
    assert np.abs(together).max() < 4.5 / np.sqrt(len(taken))
    sizes = taken.sum(axis=1)
    spread = sizes.var() / (len(SIZES) * 0.3 * 0.7)
    low, high = chi2.ppf([1e-4, 1 - 1e-4], len(taken) - 1) / (len(taken) - 1)
    assert 0.9 * low < spread < 1.1 * high  # the number of patients varies as a binomial one: a fixed size would not


def test_a_batch_has_so_many_visits_of_each_patient_one_after_the_other_and_all_images_have_their_turn():
    found, patients = sampler(rate=1.0, draws=12)
    (batch,) = list(found)
    assert len(batch) == 12 * len(SIZES)
    for patient in range(len(SIZES)):
        rows = [row for row, _ in batch[12 * patient : 12 * (patient + 1)]]
        (name,) = {patients[row] for row in rows}
        size = SIZES[int(name[1:])]
        assert len(set(rows)) == size  # up to 12 images: all of them
        assert max(map(rows.count, rows)) <= -(-12 // size)
    assert len({seed for _, seed in batch}) == len(batch)


def test_ranks_share_the_patients_of_a_batch():
    alone, _ = sampler(rate=0.6)
    first, second = (sampler(rate=0.6, rank=r, num_ranks=2)[0] for r in (0, 1))
    for epoch in range(3):
        for each in (alone, first, second):
            each.set_epoch(epoch)
        for whole, a, b in zip(alone, first, second, strict=True):
            assert sorted(a + b) == sorted(whole)
            assert abs(len(a) - len(b)) <= 4


def test_resumes_where_it_was_and_another_key_takes_others():
    whole, resumed = sampler(rate=0.25)[0], sampler(rate=0.25)[0]
    whole.set_epoch(1)
    resumed.set_epoch(1)
    resumed.start = (1, 2)
    assert list(resumed) == list(whole)[2:]
    assert len(whole) == 4
    others = sampler(rate=0.25, key=b"x" * 32)[0]
    others.set_epoch(1)
    assert list(others) != list(whole)


def test_a_batch_may_be_empty():
    found, _ = sampler(rate=0.05)
    batches = [batch for epoch in range(5) for batch in (found.set_epoch(epoch) or list(found))]
    assert [] in batches
    assert len(batches) == 100
