"""What a study will take is said before its first trial, from steps and a validation that its workers ran."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from memcontrol.cli import main
from memcontrol.jobs.run import run_job
from memcontrol.search import rehearsal, rehearsal_callback
from memcontrol.search.estimate import spoken
from tests.memcontrol.search.conf import Trials, arguments, inline_workers

PLAIN = {"trainer": {"max_steps": 120, "val_check_interval": 60, "check_val_every_n_epoch": None}}


class OnlyRehearsals(Trials):
    """Runs rehearsals, and stands for trials."""

    def __init__(self):
        super().__init__({})
        self.rehearsed = []

    def __call__(self, job):
        if Path(job.folder).parent.name == "rehearsal":
            self.rehearsed.append(job)
            return run_job(job)
        return super().__call__(job)


@pytest.fixture
def stand_in(monkeypatch):
    found = OnlyRehearsals()
    monkeypatch.setattr("memcontrol.jobs.loop.run_job", found)
    return found


def said_of(records):
    return [record.getMessage() for record in records if record.getMessage().startswith("A step takes")]


def test_it_is_said_before_the_first_trial_and_nothing_is_left(tmp_path, stand_in, caplog):
    with inline_workers(), caplog.at_level(logging.INFO, "memcontrol"):
        main(arguments(tmp_path, 8))
    assert len(stand_in.rehearsed) == 1
    assert len(stand_in.started) == 8
    [said] = said_of(caplog.records)
    assert "so a trial of 2 steps and 2 validations takes" in said
    assert "for 8 trials on 1 workers" in said
    assert not (tmp_path / "study" / "rehearsal").exists()
    events = [json.loads(line) for line in (tmp_path / "study" / "journal.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "ask" for event in events) == 8


@pytest.mark.whole
def test_a_study_that_goes_on_is_not_rehearsed_again(tmp_path, stand_in):
    with inline_workers():
        main(arguments(tmp_path, 8))
        main(arguments(tmp_path, 9))
    assert len(stand_in.rehearsed) == 1


def test_few_trials_are_not_worth_it(tmp_path, stand_in):
    with inline_workers():
        main(arguments(tmp_path, 3))
    assert not stand_in.rehearsed


def test_a_rehearsal_that_fails_stops_no_study(tmp_path, stand_in, monkeypatch, caplog):
    monkeypatch.setattr(rehearsal, "CALLBACK", "memcontrol.NoSuchCallback")
    with inline_workers(), caplog.at_level(logging.INFO, "memcontrol"):
        main(arguments(tmp_path, 8))
    assert len(stand_in.started) == 8
    assert not said_of(caplog.records)
    assert "could not be timed beforehand" in caplog.text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (120, 2)),
        ({"max_steps": 130}, (130, 3)),
        ({"accumulate_grad_batches": 3}, (120, 6)),
        ({"max_steps": -1}, None),
        ({"val_check_interval": 0.5}, None),
        ({"check_val_every_n_epoch": 1}, None),
    ],
)
def test_how_long_a_trial_is(change, expected):
    assert rehearsal._length({**PLAIN, "trainer": {**PLAIN["trainer"], **change}}) == expected


def test_private_trials_are_not_rehearsed():
    assert rehearsal._length({**PLAIN, "model": {"init_args": {"privacy": {"epsilon": 1}}}}) is None


def test_a_time_is_said_as_one_would():
    assert [spoken(s) for s in (9, 89, 100, 500, 3000, 9000)] == [
        "9 s",
        "89 s",
        "1.7 min",
        "8.3 min",
        "50 min",
        "2.5 h",
    ]


def test_steps_of_several_batches_are_timed_whole(monkeypatch):
    """The clock starts at the end of the warm-up, not with each batch of the step that follows."""
    clock = iter(range(100))
    monkeypatch.setattr(rehearsal_callback.time, "monotonic", lambda: float(next(clock)))
    callback, trainer = rehearsal_callback.RehearsalCallback(), SimpleNamespace(max_steps=4)
    for batch in range(8):  # two batches a step
        trainer.global_step = (batch + 1) // 2
        callback.on_train_batch_end(trainer, None, None, None, batch)
        if batch == 4:  # the first batch of the third step
            began = callback._began
    assert callback._began == began
    assert callback._steps == 2
