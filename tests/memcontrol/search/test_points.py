"""What the proposer is told of a trial: its best point under weights of its own, and what it would have come to."""

from __future__ import annotations

from memcontrol.measures import Point
from memcontrol.search.points import best_point, expected_point, worst_of

FRONT = [(0.0, 1.0), (0.5, 0.6), (0.8, 0.3), (1.0, 0.0)]
POINTS = [Point(i, r) for i, r in enumerate([*FRONT, (0.4, 0.5), (0.1, 0.1)])]
OTHERS = [Point(9, (-1.0, -1.0))]


def chosen(points=POINTS, others=OTHERS, seed=0):
    return [best_point(points, others, number, seed).step for number in range(40)]


def test_weights_depend_on_number_and_seed():
    assert set(chosen()) == {0, 1, 2, 3}  # all of the front, nothing behind it
    assert chosen() == chosen()
    assert chosen() != chosen(seed=1)


def test_one_objective_leaves_no_choice():
    points = [Point(0, (0.2,)), Point(1, (0.9,)), Point(2, (0.5,))]
    assert set(chosen(points, [])) == {1}


def test_others_set_the_scale():
    def scaled(points):
        return [Point(p.step, (1024 * p.rewards[0] - 7, p.rewards[1] / 4)) for p in points]

    assert chosen(scaled(POINTS), scaled(OTHERS)) == chosen()
    assert chosen(others=[Point(9, (2.0, -1.0))]) != chosen()


def test_a_bad_trial_does_not_move_the_scale():
    assert chosen(others=[Point(9, (0.0, -50.0))]) == chosen()


def test_mean_growth_of_finished_trials_is_added():
    measures = {"kid": object()}
    finished = [
        [Point(2, (0.0, 1.0)), Point(4, (9.0, 9.0)), Point(6, (0.25, 0.5))],
        [Point(2, (0.5, 0.0)), Point(6, (0.25, 1.5))],
        [Point(4, (0.0, 0.0)), Point(6, (5.0, 5.0))],  # not seen at this step
        [Point(2, (7.0, 7.0))],  # no growth to tell
    ]
    found = expected_point(Point(2, (-1.0, -2.0), measures), finished)
    assert found == Point(2, (-1.0, -1.5), measures)  # growths (0.25, -0.5) and (-0.25, 1.5)


def test_nothing_to_expect():
    point = Point(3, (-1.0, -2.0))
    assert expected_point(point, []) == point
    assert expected_point(point, [[Point(2, (0.0, 0.0)), Point(6, (5.0, 5.0))], [Point(3, (1.0, 1.0))]]) == point


def test_a_trial_that_diverged_is_told_the_worst_that_is_known():
    assert worst_of(POINTS).rewards == (0.0, 0.0)
    assert worst_of([]) is None
