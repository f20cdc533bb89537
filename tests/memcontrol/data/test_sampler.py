from __future__ import annotations

from memcontrol.data.sampler import EpochSampler


def test_ranks_together_see_what_one_process_sees():
    alone = list(EpochSampler(50, 8, seed=3))
    first, second = (list(EpochSampler(50, 4, seed=3, rank=r, num_ranks=2)) for r in (0, 1))
    for step in range(6):
        together = first[4 * step : 4 * step + 4] + second[4 * step : 4 * step + 4]
        assert sorted(together) == sorted(alone[8 * step : 8 * step + 8])


def test_resumes_in_the_middle_of_an_epoch():
    whole, resumed = EpochSampler(50, 8, seed=3), EpochSampler(50, 8, seed=3)
    resumed.start = (1, 4)
    whole.set_epoch(1)
    resumed.set_epoch(1)
    assert list(resumed) == list(whole)[32:]
    whole.set_epoch(2)
    resumed.set_epoch(2)
    assert list(resumed) == list(whole)


def test_epochs_differ_and_a_set_smaller_than_a_batch_is_repeated():
    sampler = EpochSampler(5, 8, seed=0)
    one = list(sampler)
    sampler.set_epoch(1)
    assert len(one) == 8
    assert one != list(sampler)
