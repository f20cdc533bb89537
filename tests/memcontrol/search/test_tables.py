"""A study for other programs."""

from __future__ import annotations

import optuna
import pandas as pd
import pytest
import yaml

from memcontrol.cli import main
from memcontrol.errors import SearchError
from memcontrol.files.journal import Journal
from memcontrol.search.tables import convert_study


def interval(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 20}


@pytest.fixture
def folder(tmp_path):
    """A study of four trials: two with points, one that failed, one that runs."""
    study = tmp_path / "xray-search"
    study.mkdir()
    objectives = ["membership_calibrated", "kid"]
    (study / "study.yaml").write_text(yaml.safe_dump({"format": 2, "search": {"objectives": objectives}}))
    events = []
    for number in range(4):
        values = {"model.optimizer.lr": 1e-3 * 3**number, "model.adapter": "lora" if number % 2 else "svdiff"}
        if number % 2:
            values["model.adapter.r"] = 4
        events.append({"event": "ask", "number": number, "mask": [1, number % 2], "units": [0.5], "values": values,
                       "digest": str(number), "seed": 0})  # fmt: skip
    for number, leak, kid in ((0, 0.6, 0.9), (1, 0.7, 0.5)):
        points = [
            {"step": step, "rewards": [-leak, -kid * 100 / step],
             "measures": {objectives[0]: interval(leak), "kid": interval(kid * 100 / step)}}
            for step in (50, 100)
        ]  # fmt: skip
        events.append({"event": "finish", "number": number, "state": "COMPLETE", "points": points, "told": None,
                       "error": None, "seconds": {"training": 3.0}, "attempts": 1})  # fmt: skip
    events.append({"event": "finish", "number": 2, "state": "FAILED", "points": [], "told": None,
                   "error": "DivergedError: x", "seconds": {}, "attempts": 1})  # fmt: skip
    journal = Journal(study / "journal.jsonl")
    with journal.writing():
        for event in events:
            journal.append(**event)
    return study


def test_every_point_is_a_trial_of_optuna_with_its_directions(folder):
    path = convert_study(folder, "optuna")
    study = optuna.load_study(study_name="xray-search", storage=f"sqlite:///{path}")
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MINIMIZE"]
    assert study.metric_names == ["membership_calibrated", "kid"]
    states = [trial.state.name for trial in study.trials]
    assert sorted(states) == ["COMPLETE"] * 4 + ["FAIL", "RUNNING"]
    best = {(trial.user_attrs["trial"], trial.user_attrs["step"]) for trial in study.best_trials}
    assert best == {(0, 100), (1, 100)}
    first = next(trial for trial in study.trials if trial.user_attrs["trial"] == 1)
    assert first.params == {
        "model.optimizer.lr": pytest.approx(3e-3),
        "model.adapter": "lora",
        "model.adapter.r": 4,
        "slot 00": 1,
        "slot 01": 1,
    }
    convert_study(folder, "optuna")  # again, while it goes on
    assert len(optuna.load_study(study_name="xray-search", storage=f"sqlite:///{path}").trials) == 6


def test_every_point_is_a_row_of_the_table(folder, tmp_path, capsys):
    main(["study", str(folder), "--output", str(tmp_path / "mine.csv")])
    assert "mine.csv" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "mine.csv")
    assert table["trial"].tolist() == [0, 0, 1, 1, 2, 3]
    assert table["kid"].tolist()[:4] == pytest.approx([1.8, 0.9, 1.0, 0.5])
    assert table["state"].tolist()[4:] == ["FAILED", "RUNNING"]
    assert table["mask"].iat[2] == "bits:11"


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(SearchError, match="holds no study"):
        convert_study(tmp_path, "csv")
    (tmp_path / "journal.jsonl").write_text("")
    with pytest.raises(SearchError, match="has been scored yet"):
        convert_study(tmp_path, "optuna")
