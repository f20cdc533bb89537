"""Seeded shares of rows are nested."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from memcontrol.data.cache import CacheOptions
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.data.splits import coin_half, take


@pytest.mark.parametrize("count", [0, 1, 17, 100, 101])
def test_rows_are_sorted_and_taken_once(count):
    rows = take(100, count, 3, "eval").tolist()
    assert rows == sorted(set(rows))
    assert len(rows) == min(count, 100)
    assert set(rows) <= set(range(100))


def test_a_larger_take_holds_a_smaller_one():
    draws = [set(take(100, count, 3, "eval").tolist()) for count in (5, 6, 30, 99)]
    assert draws[0] < draws[1] < draws[2] < draws[3]


def test_seed_and_name_decide():
    first = take(100, 20, 3, "eval").tolist()
    assert take(100, 20, 3, "eval").tolist() == first
    assert first != list(range(20))
    assert take(100, 20, 4, "eval").tolist() != first
    assert take(100, 20, 3, "other").tolist() != first


def test_coins_are_fair_and_independent():
    names, others = [f"p{i}" for i in range(1000)], [f"q{i}" for i in range(1500)]
    first, second, complement = (coin_half(names, others, number) for number in (0, 2, 1))
    pool = first | complement
    assert not first & complement
    assert len(pool) == 2000
    assert second <= pool
    for heads in (first, second, first & second | (pool - first - second)):
        assert binomtest(len(heads), 2000).pvalue > 0.01
    assert coin_half(names[:500], [], 0) == first & set(names[:500])  # nobody's coin is another's


def test_coins_divide_the_patients_of_training_and_test(tmp_path):
    def data(**options):
        found = PhantomDataModule(
            sites=["C"], num_subjects=60, images_per_subject=2, split_fractions=[0.3, 0.2, 0.5],
            transform=Transform(size=64), cache=CacheOptions(folder=str(tmp_path)), **options,
        )  # fmt: skip
        found.setup("fit")
        return found, {split: set(found.table(split)["subject_id"]) for split in ("train", "validate", "test")}

    (plain, before), (divided, one), (_, other) = data(), data(coin_flips=6), data(coin_flips=7)
    assert divided.coin_half(9) == plain.coin_half(9)  # of a run that was divided itself, too
    assert one["validate"] == before["validate"]
    assert (one["train"], other["train"]) == (plain.coin_half(6), plain.coin_half(7))
    assert before["train"] < one["train"] | other["train"]
    assert len(one["train"] | other["train"]) == 2 * len(before["train"])
    assert one["test"] == (before["train"] | before["test"]) - one["train"]


def test_pools_of_test_patients_are_disjoint_and_whole(tmp_path):
    def tests(**options):
        found = PhantomDataModule(
            sites=["C"], num_subjects=60, images_per_subject=2, split_fractions=[0.3, 0.2, 0.5],
            transform=Transform(size=64), cache=CacheOptions(folder=str(tmp_path)), **options,
        )  # fmt: skip
        found.setup("fit")
        return [set(found.table(split)["subject_id"]) for split in ("train", "validate", "test")]

    *rest, whole = tests()
    pools = [tests(test_pools=3, test_pool=number) for number in range(3)]
    assert all(found[:2] == rest for found in pools)
    assert set.union(*(found[2] for found in pools)) == whole
    assert sum(len(found[2]) for found in pools) == len(whole)
    assert {len(found[2]) for found in pools} == {10}
