"""A study whose trials all fail of one thing is stopped early, says so, and opens them again when that is mended."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

import pytest

from memcontrol.errors import SearchError
from memcontrol.files.journal import Journal
from memcontrol.search.loop import OuterLoop
from memcontrol.search.options import SearchOptions
from memcontrol.search.proposer import Proposer
from memcontrol.search.records import TrialState, read_trials
from memcontrol.search.space import SearchSpace
from memcontrol.search.study import Study
from tests.memcontrol.search.conf import Inline, Trials

MISSING = "DataError: Argument `root` is '/no/p10000032', which lacks its tables."
DIVERGED = "DivergedError: training has diverged."
COMPLETE, FAILED = TrialState.COMPLETE, TrialState.FAILED


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a study to its end with trials that end as planned; returns those that were started, and the records."""

    def go(plan, count=12, workers=1):
        ends = Trials(plan)
        monkeypatch.setattr("memcontrol.jobs.loop.run_job", ends)
        options = SearchOptions(study=str(tmp_path), trials=count, objectives=["noise_norm", "kid"])
        study = Study(tmp_path, options, SearchSpace(tuple("abcdef"), ()), "", {"data": {}})
        proposer = Proposer(study.space, options.optimizer, [], count, workers, 2, 0)
        journal = Journal(study.journal)
        OuterLoop(study, journal, proposer, Inline(), workers, 1, lambda records: None).run()
        return ends.started, read_trials(journal)

    return go


def states(folder):
    return [t.state for t in read_trials(Journal(folder / "journal.jsonl"))]


ALL_FAIL = dict.fromkeys(range(12), MISSING)


def test_a_study_that_only_fails_is_stopped_and_goes_on_once_it_is_mended(run, tmp_path):
    with pytest.raises(SearchError, match=r"Trial 2 failed of DataError: Argument `root` is '<path>'") as error:
        run(ALL_FAIL)
    assert "run the same command again: it then opens the trials 0, 1, 2 again" in str(error.value)
    assert MISSING in (tmp_path / "trials" / "trial-0002" / "trial.log").read_text()
    assert states(tmp_path) == [FAILED] * 3
    with pytest.raises(SearchError, match="opens the trials 0, 1, 2 again"):
        run(ALL_FAIL)
    assert states(tmp_path) == [FAILED] * 3  # no proposal is burned while nothing is mended
    asked = [t.digest for t in read_trials(Journal(tmp_path / "journal.jsonl"))]
    started, found = run({}, 5)
    assert started == [0, 1, 2, 3, 4]
    assert [t.state for t in found] == [COMPLETE] * 5
    assert [t.digest for t in found[:3]] == asked
    assert run({}, 6)[0] == [5]  # it can be proposed again, and nothing is trained twice


def test_a_study_that_was_not_stopped_trains_no_failure_again(run):
    started, found = run({1: MISSING, 2: MISSING, 3: MISSING, 4: MISSING}, 6)
    assert started == [0, 1, 2, 3, 4, 5]
    assert [t.state for t in found] == [COMPLETE, *[FAILED] * 4, COMPLETE]
    assert run({}, 7)[0] == [6]


def test_an_outage_after_a_success_does_not_burn_the_budget(run):
    with pytest.raises(SearchError, match="opens the trials 1, 2, 3, 4, 5, 6 again"):
        run(dict.fromkeys(range(1, 12), MISSING))
    assert run({}, 7)[0] == [1, 2, 3, 4, 5, 6]


def test_the_proposer_is_told_of_a_trial_that_diverged(run, tmp_path):
    run({2: DIVERGED}, 4)
    told = [event["told"] for event in Journal(tmp_path / "journal.jsonl").events() if event["event"] == "finish"]
    rewards = [each["rewards"] for each in told]
    assert rewards[2] == [min(pair[k] for pair in rewards[:2]) for k in range(2)]
    assert run({}, 5)[0] == [4]


def test_fewer_failures_than_a_row_are_not_opened_again(run):
    assert run({0: MISSING, 1: MISSING}, 2)[0] == [0, 1]
    assert run({}, 3)[0] == [2]


def test_trials_that_diverge_are_no_row_and_stay_failed(run, tmp_path):
    plan = {0: DIVERGED, 1: MISSING, 2: MISSING, 3: DIVERGED, 4: MISSING, 5: MISSING, 6: MISSING}
    with pytest.raises(SearchError, match="opens the trials 1, 2, 4, 5, 6 again"):
        run(plan)
    started, found = run({}, 7)
    assert started == [1, 2, 4, 5, 6]
    assert [t.number for t in found if t.state is FAILED] == [0, 3]


def test_trials_whose_retries_were_spent_stay_failed(run):
    died = BrokenProcessPool("A process was terminated abruptly")
    with pytest.raises(SearchError, match="run the same command again: it then goes on"):
        run(dict.fromkeys(range(12), died))
    started, found = run({}, 5)
    assert started == [3, 4]
    assert [t.state for t in found] == [*[FAILED] * 3, COMPLETE, COMPLETE]
    assert all("terminated abruptly" in t.error and t.attempts == 2 for t in found[:3])


def test_a_full_disk_is_opened_again(run):
    with pytest.raises(SearchError, match="OSError: No space left on device"):
        run(dict.fromkeys(range(12), OSError("No space left on device")))
    assert run({}, 3)[0] == [0, 1, 2]


def test_what_runs_beside_a_row_of_failures_is_waited_for(run):
    started, found = run({0: MISSING, 1: MISSING, 2: MISSING}, 6, workers=4)
    assert started == [0, 1, 2, 3, 4, 5]  # trial 3 has completed, so the study goes on
    assert [t.state for t in found] == [*[FAILED] * 3, *[COMPLETE] * 3]


def test_a_study_that_another_version_has_begun_goes_on(run, monkeypatch, caplog):
    before = run({}, 6)[1]
    monkeypatch.setattr("memcontrol.search.proposer.derive_seed", lambda *parts: 12345)  # proposes otherwise
    started, found = run({}, 9)
    assert started == [6, 7, 8]
    assert found[:6] == before
    assert len({t.digest for t in found}) == 9
    assert sum("proposed by another version" in r.message for r in caplog.records) == 1
    assert run({}, 10)[0] == [9]
