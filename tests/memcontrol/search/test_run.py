"""How the command ends where a study has found nothing."""

from __future__ import annotations

import pytest

from memcontrol.cli import main
from memcontrol.search.records import TrialState
from tests.memcontrol.search.conf import Inline, Trials, arguments, trials

MISSING = "DataError: Argument `root` is '/no/p10000032', which lacks its tables."
DIVERGED = "DivergedError: training has diverged."
COMPLETE, FAILED = TrialState.COMPLETE, TrialState.FAILED


def test_the_command_ends_with_an_error_and_names_what_there_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("memcontrol.search.run.local_workers", lambda *args: Inline())
    monkeypatch.setattr("memcontrol.jobs.loop.run_job", Trials(dict.fromkeys(range(12), MISSING)))
    with pytest.raises(SystemExit) as stopped:
        main(arguments(tmp_path, 12))
    assert stopped.value.code == 2
    assert "is stopped: its trials fail one after another" in capsys.readouterr().err
    assert [t.state for t in trials(tmp_path)] == [FAILED] * 3
    monkeypatch.setattr("memcontrol.jobs.loop.run_job", Trials(dict.fromkeys(range(3), DIVERGED)))
    with pytest.raises(SystemExit) as empty:
        main(arguments(tmp_path, 3))
    assert empty.value.code == 2
    said = capsys.readouterr().err
    assert f"No trial of the study in {tmp_path / 'study'} (report.html) has left a point" in said
    assert "pareto.csv" not in said
    journal = (tmp_path / "study" / "journal.jsonl").read_text()
    assert "p10000032" not in journal + (tmp_path / "study" / "report.html").read_text()
    monkeypatch.setattr("memcontrol.jobs.loop.run_job", Trials({}))
    main(arguments(tmp_path, 5))
    assert [t.state for t in trials(tmp_path)] == [*[FAILED] * 3, COMPLETE, COMPLETE]
