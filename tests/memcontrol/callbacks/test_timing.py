"""Seconds are told apart by what they were spent on."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from memcontrol.callbacks import timing
from memcontrol.callbacks.rewards import RewardsCallback
from memcontrol.callbacks.timing import TimingCallback


@pytest.fixture
def clock(monkeypatch):
    found = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def run(clock, trainer):
    callback = TimingCallback()
    callback.on_train_start(trainer, None)
    for start, end in ((1040, 1050), (1090, 1110)):  # two validations of 10 and 20 s
        clock.now = start
        callback.on_validation_start(trainer, None)
        clock.now = end
        callback.on_validation_end(trainer, None)
    clock.now = 1120
    callback.on_train_end(trainer, None)
    clock.now = 1190
    callback.on_fit_end(trainer, None)


def scorer(**seconds):
    found = RewardsCallback()
    found.seconds = seconds
    return found


def seconds(clock, folder, callbacks, is_global_zero=True):
    run(clock, SimpleNamespace(callbacks=callbacks, log_dir=str(folder), is_global_zero=is_global_zero))
    return json.loads((folder / "timing.json").read_text())


def test_seconds_without_scores(clock, tmp_path):
    found = seconds(clock, tmp_path, [TimingCallback()])
    assert found == {"training": 90, "sampling": 0, "scoring": 0, "validation": 30}


def test_seconds_of_scorers_are_told_apart(clock, tmp_path):
    scorers = [scorer(sampling=5, scoring=14, validation=8), scorer(sampling=1, scoring=3, validation=2)]
    found = seconds(clock, tmp_path, scorers)
    assert found == {"training": 90, "sampling": 6, "scoring": 11, "validation": 20}


def test_validation_is_never_negative(clock, tmp_path):
    found = seconds(clock, tmp_path, [scorer(sampling=5, scoring=40, validation=31)])
    assert found["validation"] == 0


def test_one_process_writes(clock, tmp_path):
    with pytest.raises(FileNotFoundError):
        seconds(clock, tmp_path, [], is_global_zero=False)
