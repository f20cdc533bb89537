"""Seeded shares of rows are nested."""

from __future__ import annotations

import pytest

from memcontrol.data.splits import take


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
