"""Studies that are killed, and trials that fail: what was paid for is never lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter

import pandas as pd
import psutil
import pytest

from memcontrol.cli import main
from memcontrol.errors import SearchError
from memcontrol.files.journal import Journal
from memcontrol.jobs.workers import LocalWorkers, local_workers
from memcontrol.search.records import TrialState
from tests.conf import wait_until
from tests.interrupted import workers_of
from tests.memcontrol.search.conf import KEEP, SCORING, arguments, inline_workers, trials


def start(folder, count):
    args = [sys.executable, "train.py", *arguments(folder, count)]
    return subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def at_work(process, folder, count, rng):
    """Return what to wait for: a worker, and that the trial that runs now has begun, has a checkpoint, or a score."""
    finished = sum(t.state is TrialState.COMPLETE for t in trials(folder)) if (folder / "study").is_dir() else 0
    run = folder / "study" / "trials" / f"trial-{min(finished, count - 1):04d}"
    seen = rng.choice(["trial.log", "checkpoints/*.ckpt", "rewards.jsonl"])
    return lambda: workers_of(process) and any(run.glob(seen))


def has_others(process, workers):
    return lambda: {*workers_of(process)} - {*workers}


def killed_study(folder, count, kills, rng):
    """Run a study, killing its controller, a worker of it and then all, or all at once, in the midst of a trial."""
    for number in range(kills):
        process = start(folder, count)
        try:
            wait_until(at_work(process, folder, count, rng), 120)
            workers = workers_of(process)
            assert workers
            if number % 3 == 0:
                process.kill()
                process.wait()
                _, alive = psutil.wait_procs(workers, timeout=30)
                assert not alive  # they end with their controller
            if number % 3 == 1:
                workers[-1].kill()
                wait_until(has_others(process, workers))  # another one takes its place
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(("count", "kills"), [(1, 1), (12, 10)])
def test_killed_study_ends_as_an_undisturbed_one(tmp_path, count, kills):
    killed_study(tmp_path / "killed", count, kills, random.Random(0))
    with inline_workers():
        main(arguments(tmp_path / "killed", count))
    found = trials(tmp_path / "killed")
    assert [t.state for t in found] == [TrialState.COMPLETE] * count
    assert [t.number for t in found] == list(range(count))
    events = Counter(e["event"] for e in Journal(tmp_path / "killed" / "study" / "journal.jsonl").events())
    assert events["finish"] == events["ask"] == count
    with inline_workers():
        main(arguments(tmp_path / "calm", count))
    calm = trials(tmp_path / "calm")
    assert [t.digest for t in found] == [t.digest for t in calm]
    assert json.dumps([t.points[-1].rewards for t in found]) == json.dumps([t.points[-1].rewards for t in calm])


@pytest.mark.whole
def test_each_failure_has_a_clear_text(tmp_path):
    planted = "{class_path: tests.killer.Planted}"
    args = [a for a in arguments(tmp_path, 4) if not a.startswith("--trainer.callbacks")]
    main([*args, "--trust-config", f"--trainer.callbacks=[{planted},{SCORING},{KEEP}]"])
    nan, memory, reward, exits = trials(tmp_path)
    assert [t.state for t in (nan, exits, reward)] == [TrialState.FAILED] * 3
    assert "diverged" in nan.error
    assert "terminated abruptly" in exits.error
    assert exits.attempts == 2
    assert "reward raises (planted)" in reward.error
    assert memory.state is TrialState.COMPLETE
    assert memory.attempts == 2
    assert "accumulate_grad_batches: 2" in (tmp_path / "study" / "trials" / "trial-0001" / "overlay.yaml").read_text()
    events = pd.read_json(tmp_path / "study" / "journal.jsonl", lines=True)  # whoever knows pandas can read it
    assert set(events["event"]) >= {"ask", "finish"}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of eight MiB with little room; gone with the test."""
    disk = tmp_path / "study"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a small disk")
    (disk / "filler").write_bytes(bytes(8_200_000))
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_fails_the_trial_and_keeps_the_journal(tmp_path, small_disk):
    with pytest.raises(SystemExit):  # there is no front
        main(arguments(tmp_path, 1))
    (first,) = trials(tmp_path)
    assert first.state == TrialState.FAILED
    assert "No space left on device" in first.error
    (small_disk / "filler").unlink()
    main(arguments(tmp_path, 2))
    assert [t.state for t in trials(tmp_path)] == [TrialState.FAILED, TrialState.COMPLETE]


def test_a_journal_that_cannot_be_written_stays_whole(tmp_path, small_disk):
    journal = Journal(small_disk / "journal.jsonl")
    journal.append("open", text="whole")
    (small_disk / "rest").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    with pytest.raises(SearchError, match="Make room"):
        journal.append("event", text="x" * 8000)
    (small_disk / "filler").unlink()
    journal.append("close")
    assert [e["event"] for e in journal.events()] == ["open", "close"]


@pytest.mark.whole
def test_a_kill_between_checkpoint_and_score_loses_no_point(tmp_path):
    """The last score is taken away, as if the run had been killed after its last checkpoint."""
    args = arguments(tmp_path)
    own = [a for a in args[1:] if not a.startswith("--search")]
    logger = f"--trainer.logger.save_dir={tmp_path}"
    main(["fit", *own, logger])
    run = tmp_path / "demo" / "version_0"
    lines = (run / "rewards.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    (run / "rewards.jsonl").write_text("".join(line + "\n" for line in lines[:2]))
    main(["fit", *own, logger, f"--ckpt_path={run}"])
    found = {json.loads(line)["step"]: json.loads(line) for line in (run / "rewards.jsonl").read_text().splitlines()}
    last = {m["name"]: m["value"] for m in expected[-1]["measures"]}
    assert {m["name"]: m["value"] for m in found[2]["measures"]} == last


def test_workers_are_pinned_to_the_devices_that_this_process_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,GPU-6,7")
    assert local_workers(2)._devices == ["4", "5"]
    assert local_workers(2, 2)._devices == ["4,5", "GPU-6,7"]
    assert local_workers(5)._devices == ["4", "5", "GPU-6", "7", "4"]  # too few: they share
    with pytest.raises(SearchError, match=r"is 5, but this process may use 4 GPUs"):
        local_workers(1, 5)


@pytest.mark.whole
def test_a_worker_that_dies_while_idle_is_replaced():
    workers = LocalWorkers(1)
    try:
        (pid,) = [workers.submit(os.getpid).result(60)]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: workers._pools[0]._broken)  # the pool has noticed
        assert workers.submit(os.getpid).result(60) != pid
        assert workers.submit(os.getpid).result(60) > 0  # and its place is not lost
    finally:
        workers.shutdown()
