"""A private study says what all its trials have cost together."""

from __future__ import annotations

import json

import pytest

from memcontrol.errors import CheckpointError
from memcontrol.jobs.arguments import _halve
from memcontrol.privacy import Guarantee
from memcontrol.privacy.accounting import Steps, epsilon_of
from memcontrol.search.budget import budget_line


def trial(folder, noise=2.0):
    folder.mkdir()
    said = Guarantee.of(Steps(50, 0.2, noise), 1e-4, 1.0, 300, 4, "pld").to_dict()
    (folder / "privacy.json").write_text(json.dumps({"guarantee": said}))
    return folder


def test_trials_add_up(tmp_path):
    runs = [trial(tmp_path / str(i)) for i in range(3)] + [tmp_path / "none"]
    expected = epsilon_of([Steps(150, 0.2, 2.0)], 1e-4)
    assert f"the 3 trials that began have together spent epsilon {expected:.3g}" in budget_line(runs)


def test_a_trial_without_a_bound_is_not_left_out(tmp_path):
    runs = [trial(tmp_path / "a"), tmp_path / "b"]
    runs[1].mkdir()
    assert "the 1 trials" in budget_line(runs)  # it has not begun
    (runs[1] / "metrics.csv").write_text("step\n1\n")
    assert "were trained without a bound" in budget_line(runs)


def test_other_studies_say_nothing(tmp_path):
    assert budget_line([tmp_path / "none"]) is None


def test_a_trial_without_noise_leaves_no_bound(tmp_path):
    assert "no bound" in budget_line([trial(tmp_path / "a"), trial(tmp_path / "b", noise=0.0)])


def test_a_damaged_record_is_said(tmp_path):
    run = trial(tmp_path / "a")
    (run / "privacy.json").write_text('{"guarantee": {"epsilon": 1}}')
    with pytest.raises(CheckpointError, match="makes no sense"):
        budget_line([run])


def test_a_private_trial_that_ran_out_of_memory_takes_fewer_patients_at_once():
    base = {"model": {"init_args": {"privacy": {"epsilon": 1.0, "microbatch": 8}}}, "trainer": {}, "data": {}}
    tree = {"trainer": {}}
    _halve(tree, base, 4)
    assert tree == {"trainer": {}, "model": {"privacy": {"microbatch": 2}}}
