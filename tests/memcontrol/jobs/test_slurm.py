"""A real SLURM with one node: jobs are cancelled, reach their wall time, lose their node, outlive no controller."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from memcontrol.cli import main
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.journal import Journal
from memcontrol.search.records import TrialState
from tests.conf import short_run, wait_until
from tests.memcontrol.jobs.test_parsl import running, start
from tests.memcontrol.search.conf import arguments, trials

pytest.importorskip("parsl")


def is_up() -> bool:
    if shutil.which("sinfo") is None:
        return False
    found = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True, check=False)
    return found.returncode == 0 and bool(found.stdout.strip())


pytestmark = [pytest.mark.slurm, pytest.mark.skipif(not is_up(), reason="needs a running SLURM")]

TRIALS = 6
STEPS = 8
EQUAL = (
    "--search.optimizer=RandomSearch",
    f"--trainer.max_steps={STEPS}",
    f"--trainer.val_check_interval={STEPS // 2}",
)


def study(folder: Path, seconds: float, wall_time: str) -> list[str]:
    """Return the arguments of a study by the shipped overlay, whose trials take so many seconds for each step."""
    slow = f"{{class_path: tests.killer.Slow, init_args: {{seconds: {seconds}}}}}"
    workers = {
        "partition": "cpu", "gpus_per_trial": 0, "jobs": 2, "trials_per_job": 1, "cpus_per_trial": 1,
        "time": wall_time, "run_dir": folder / "parsl",
    }  # fmt: skip
    return [
        *arguments(folder, TRIALS, *EQUAL),
        "--config=search/slurm.yaml",
        *(f"--search.executor.{name}={value}" for name, value in workers.items()),
        "--search.workers=2",
        "--search.threads=1",
        f"--search.study={folder / 'study'}",
        f"--trainer.callbacks+={slow}",
        "--trust-config",
    ]


def jobs(folder: Path) -> list[str]:
    """Return the numbers of our jobs that SLURM knows of: those whose script lies in the study's folder."""
    found = subprocess.run(["squeue", "-h", "-o", "%A %Z %o"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in found.splitlines() if str(folder) in line]


def checkpoints(folder: Path) -> list[Path]:
    return list((folder / "study").glob("trials/*/checkpoints/*.ckpt"))


def check(folder: Path) -> None:
    """Check that each trial was finished once, and measured what it does in a calm study."""
    found = trials(folder)
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * TRIALS
    events = Counter(event["event"] for event in Journal(folder / "study" / "journal.jsonl").events())
    assert events["ask"] == events["finish"] == TRIALS
    main([*arguments(folder / "calm", TRIALS, *EQUAL)])
    calm = {trial.digest: trial for trial in trials(folder / "calm")}
    assert {trial.digest for trial in found} == set(calm)
    for trial in found:
        for mine, other in zip(trial.points, calm[trial.digest].points, strict=True):
            np.testing.assert_allclose(mine.rewards, other.rewards, rtol=1e-6)


def cancel(folder: Path) -> None:
    subprocess.run(["scancel", jobs(folder)[0]], check=True)


def take_node_away(folder: Path) -> None:
    node = subprocess.run(["sinfo", "-h", "-o", "%n"], capture_output=True, text=True, check=True).stdout.split()[0]
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=down", "reason=test"], check=True)
    time.sleep(20)
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)  # it may be back by itself


@pytest.mark.parametrize("event", [cancel, take_node_away])
def test_a_study_survives(tmp_path, event):
    with running(study(tmp_path, 4, "00:30:00")) as process:
        wait_until(lambda: checkpoints(tmp_path), 240)
        event(tmp_path)
        assert process.wait(900) == 0
    wait_until(lambda: not jobs(tmp_path), 120)
    check(tmp_path)


def test_a_study_survives_a_wall_time_of_half_a_trial(tmp_path):
    with running(study(tmp_path, 15, "00:01:00")) as process:
        assert process.wait(1800) == 0
    check(tmp_path)
    attempts = [e["attempts"] for e in Journal(tmp_path / "study" / "journal.jsonl").events() if e["event"] == "finish"]
    assert max(attempts) > 1


def test_a_killed_controller_leaves_no_job_behind_and_goes_on(tmp_path):
    args = study(tmp_path, 4, "00:30:00")
    process = start(args)
    try:
        wait_until(lambda: checkpoints(tmp_path), 240)
        assert jobs(tmp_path)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not jobs(tmp_path), 120)  # they would hold GPUs
    with running(args) as again:
        assert again.wait(900) == 0
    check(tmp_path)


def submit(folder: Path, ranks: int, *extra: str) -> str:
    """Submit a short `fit` on so many ranks; returns the job's number."""
    args = short_run(folder, "--trust-config", "--trainer.accelerator=cpu", f"--trainer.devices={ranks}", *extra)
    folder.mkdir()
    script = folder / "job.sh"
    script.write_text(
        f"#!/bin/bash\n#SBATCH --partition=cpu --ntasks={ranks} --ntasks-per-node={ranks} --requeue "
        f"--open-mode=append --output={folder / 'out.txt'}\n"
        f"cd {Path.cwd()}\nexport OMP_NUM_THREADS=1\nsrun {sys.executable} train.py "
        + " ".join(f"'{arg}'" for arg in args)
        + "\n"
    )
    return subprocess.run(["sbatch", "--parsable", script], capture_output=True, text=True, check=True).stdout.strip()


def wait_for_job(number: str, seconds: float) -> None:
    def state() -> str:
        found = subprocess.run(["squeue", "-h", "-j", number, "-o", "%T"], capture_output=True, text=True, check=False)
        return found.stdout.strip()

    wait_until(lambda: not state(), seconds)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_requeued_fit_ends_as_an_undisturbed_one(tmp_path, ranks):
    requeued, calm = tmp_path / "requeued", tmp_path / "calm"
    job = submit(requeued, ranks, "--trainer.callbacks+={class_path: tests.killer.Slow, init_args: {seconds: 3}}")
    wait_until(lambda: list(requeued.glob("demo/*/checkpoints/step*.ckpt")), 240)
    subprocess.run(["scancel", "--signal=USR1", job], check=True)
    wait_for_job(job, 400)
    said = (requeued / "out.txt").read_text()
    assert "requeu" in said.casefold(), said[-2000:]
    wait_for_job(submit(calm, ranks), 400)
    (run,), (other,) = (requeued / "demo").iterdir(), (calm / "demo").iterdir()  # it goes on in its folder
    _, found = read_checkpoint(find_checkpoint(run))
    _, expected = read_checkpoint(find_checkpoint(other))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    pd.testing.assert_frame_equal(pd.read_csv(run / "metrics.csv"), pd.read_csv(other / "metrics.csv"))
