"""The front, the budget, and what a study hands on, from records alone."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from memcontrol.callbacks import AdapterCheckpoint, BaselineCallback, ParetoCheckpoint, RewardsCallback
from memcontrol.errors import SearchError
from memcontrol.files.configs import ResolvedConfig
from memcontrol.files.journal import Journal
from memcontrol.jobs.arguments import arguments_of
from memcontrol.jobs.job import Job, overlay_of
from memcontrol.measures import Point, ScoringOptions
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.search.front import archive, contenders, trials_since_growth
from memcontrol.search.options import SearchOptions
from memcontrol.search.records import PointId, TrialRecord, TrialState
from memcontrol.search.rescore import once_more
from memcontrol.search.results import write_results
from memcontrol.search.study import narrowed, open_study

CALLBACKS = [
    {"class_path": "memcontrol.callbacks.RewardsCallback"},
    {"class_path": "memcontrol.callbacks.ParetoCheckpoint"},
]
OBJECTS = [RewardsCallback(), ParetoCheckpoint()]
CONFIG = {"model": {}, "data": {"init_args": {"batch_size": 16}}, "trainer": {"callbacks": CALLBACKS}}


def point(step, rewards):
    names = ("noise_norm", "kid")
    return Point(step, tuple(rewards), {n: Interval(-r, -r, -r, 9) for n, r in zip(names, rewards, strict=True)})


def trial(number, *rewards, state=TrialState.COMPLETE):
    points = tuple(point(10 * step, pair) for step, pair in enumerate(rewards, 1))
    return TrialRecord(number, state, (1, 0), (0.5,), {"model.optimizer.lr": 1e-3}, str(number), 0, points)


def again(*rewards):
    return point(0, rewards)


def test_a_point_that_was_not_scored_again_stays_on_the_front():
    records = [trial(0, (1.0, 0.0)), trial(1, (0.0, 1.0)), trial(2, (0.5, -0.5)), trial(3, (2.0, 2.0))]
    scored = {PointId(0, 10): again(0.9, 0.0), PointId(1, 10): again(0.0, 0.8)}
    assert [p.id.trial for p in archive(records[:3], scored)] == [0, 1]  # trial 2 was beaten when it was reported
    assert [p.id.trial for p in archive(records, scored)] == [
        3
    ]  # a new one, which a prolonged study has not rescored yet


def test_a_point_comes_forward_when_a_lucky_one_falls():
    records = [trial(0, (1.0, 1.0)), trial(1, (0.8, 0.8)), trial(2, (0.9, -0.5)), trial(3, (-0.5, 0.9))]
    assert [p.id.trial for p in contenders(records, {})] == [0]
    scored = {PointId(0, 10): again(0.1, 0.1), PointId(2, 10): again(0.9, -0.5), PointId(3, 10): again(-0.5, 0.9)}
    assert [p.id.trial for p in contenders(records, scored)] == [1]
    assert contenders(records, {**scored, PointId(1, 10): again(0.7, 0.7)}) == []


def test_a_point_is_scored_again_with_more_pictures_and_more_noise():
    first = ScoringOptions(num_images=64, draws=2, seed=3)
    second = once_more(first, 4)
    assert (second.num_images, second.draws) == (256, 8)
    assert second.seed != first.seed


def test_points_that_were_not_scored_again_are_moved_as_the_others_were():
    records = [trial(0, (1.0, 0.0)), trial(1, (0.0, 1.0)), trial(2, (0.9, 0.2))]
    scored = {PointId(0, 10): again(0.5, -0.5), PointId(1, 10): again(-0.5, 0.5)}
    assert [p.id.trial for p in archive(records, scored)] == [0, 1, 2]  # not the one alone that was not scored again
    assert [p.id.trial for p in archive([*records, trial(3, (0.4, 0.4))], scored)] == [0, 1, 2, 3]
    assert 4 not in [p.id.trial for p in archive([*records, trial(4, (0.4, 0.1))], scored)]


@pytest.mark.parametrize("outlier", [(), ((-50.0, -50.0),)])
def test_patience_counts_trials_without_growth(outlier):
    first = [trial(k, pair) for k, pair in enumerate([*outlier, (0.0, 1.0), (1.0, 0.0), (0.7, 0.7)])]
    worse = [trial(len(first) + k, (-float(k), -float(k))) for k in range(5)]
    assert trials_since_growth(first) == 0
    assert trials_since_growth([*first, *worse]) == 5
    assert trials_since_growth([*first, *worse, trial(20, (0.9, 0.9))]) == 0
    assert trials_since_growth([*first, *worse, trial(20, state=TrialState.FAILED)]) == 6


def test_hours_count_the_time_that_a_study_was_run(tmp_path):
    lines = [f'{{"schema": 1, "event": "heartbeat", "time": {t}}}\n' for t in (100, 130, 150, 9000, 9030)]
    (tmp_path / "journal.jsonl").write_text("".join(lines))
    assert Journal(tmp_path / "journal.jsonl").active_seconds(60) == 80  # the night in between does not count


def test_each_point_of_a_trial_has_an_overlay(tmp_path):
    options = SearchOptions(study=str(tmp_path), objectives=["noise_norm", "kid"])
    study = open_study(ResolvedConfig(CONFIG, CONFIG), OBJECTS, ("a", "b"), options)
    study.write()
    records = [trial(3, (1.0, 0.0), (0.0, 1.0))]
    write_results(study, archive(records, {}), records)
    steps = {p.name: yaml.safe_load(p.read_text())["trainer"]["max_steps"] for p in (tmp_path / "masks").iterdir()}
    assert steps == {"003-0000010.yaml": 10, "003.yaml": 20}
    assert len(pd.read_csv(tmp_path / "pareto.csv")) == 2
    kept = yaml.safe_load(study.config.read_text())["trainer"]["callbacks"][1]["init_args"]["rewards"]
    assert kept == options.objectives  # a trial keeps the checkpoints of what its study trades off


@pytest.mark.parametrize(
    ("further", "draws"), [([], 0), ([AdapterCheckpoint(monitor="val/loss")], 4), ([BaselineCallback()], 4)]
)
def test_a_trial_computes_no_held_out_loss_that_nobody_reads(further, draws):
    run = {"model": {"init_args": {"eval_draws": 4}}, "trainer": {"callbacks": [{}] * (2 + len(further))}}
    found = narrowed(run, [*OBJECTS, *further], ["kid"])
    assert found["model"]["init_args"]["eval_draws"] == draws
    assert found["trainer"]["callbacks"][0]["init_args"]["scoring"]["measures"] == ["kid"]
    assert run["model"]["init_args"]["eval_draws"] == 4


@pytest.mark.parametrize("name", ["kdi", "membership_auc_secmi"])
def test_objectives_that_are_not_measured_are_refused_before_training(tmp_path, name):
    scorer = RewardsCallback(scoring=ScoringOptions(attacks=False))
    options = SearchOptions(study=str(tmp_path / "new"), objectives=["kid", name])
    with pytest.raises(SearchError, match=f"names ..{name}.., which RewardsCallback does not measure"):
        open_study(ResolvedConfig(CONFIG, CONFIG), [scorer, OBJECTS[1]], ("a",), options)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("values", "halved", "expected"),
    [({}, 1, (8, 4, 200)), ({"data.batch_size": 64}, 1, (32, 4, 200)), ({"data.batch_size": 1}, 1, (1, 2, 100))],
)
def test_a_halved_batch_keeps_steps_and_validations(tmp_path, values, halved, expected):
    config = CONFIG | {"trainer": {"accumulate_grad_batches": 2, "val_check_interval": 100}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "trial").mkdir()
    overlay = overlay_of({"model.mask": [1, 0], **values})
    arguments_of(Job(str(tmp_path / "trial"), "x:y", str(tmp_path / "config.yaml"), overlay, 0, halved=halved))
    tree = yaml.safe_load((tmp_path / "trial" / "overlay.yaml").read_text())
    trainer = tree["trainer"]
    found = tree["data"]["batch_size"], trainer["accumulate_grad_batches"], trainer["val_check_interval"]
    assert found == expected
