"""Jobs that die are started again: as often as they get further, and a few times where they do not."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch

from memcontrol.jobs.arguments import arguments_of
from memcontrol.jobs.job import Job, JobResult
from memcontrol.jobs.loop import JobLoop


class Blocks(Executor):
    """Workers that die at the end of their block of time; in each, a job gets so many checkpoints further.

    Args:
        checkpoints: Checkpoints that each attempt saves before it dies; one that is None ends well.
    """

    def __init__(self, checkpoints):
        self.checkpoints = checkpoints
        self.attempts = 0

    def submit(self, fn, /, job):
        future, saved = Future(), self.checkpoints[self.attempts]
        self.attempts += 1
        folder = Path(job.folder) / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(saved or 0):
            (folder / f"step-{self.attempts}-{number}.ckpt").touch()
        if saved is None:
            future.set_result(JobResult())
        else:
            future.set_exception(BrokenProcessPool())
        return future


def run(folder, checkpoints, retries=1):
    loop = JobLoop(Blocks(checkpoints), retries)
    loop.submit(0, Job(str(folder), "memcontrol.cli:main", "demo.yaml", {}, 0))
    done = []
    while loop.keys:
        done += loop.wait()
    return done[0]


@pytest.mark.parametrize(
    ("checkpoints", "attempts", "ends_well"),
    [
        ([1, 1, 2, 1, 1, None], 6, True),  # longer than five blocks of time
        ([0, None], 2, True),
        ([0, 0, None], 2, False),
        ([1, 0, 1, 0, 1, None], 6, True),
        ([1, 0, 0, None], 3, False),
    ],
)
def test_progress_resets_the_count(tmp_path, checkpoints, attempts, ends_well):
    done = run(tmp_path, checkpoints)
    assert (done.attempts, done.error is None) == (attempts, ends_well)


def test_what_another_batch_size_has_left_is_not_gone_on_with(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("data: {init_args: {batch_size: 16}}\ntrainer: {}\n")
    whole = Job(str(tmp_path / "runs" / "job"), "memcontrol.cli:main", str(config), {}, 0)
    halved = Job(whole.folder, whole.entry, whole.config, {}, 0, halved=1)
    folder = Path(whole.folder) / "checkpoints"
    for job, goes_on in ((whole, False), (whole, True), (halved, False), (halved, True)):
        assert any("--ckpt_path" in arg for arg in arguments_of(job)) is goes_on
        folder.mkdir(exist_ok=True)
        torch.save({}, folder / "step-1.ckpt")
        (folder / "step-2.ckpt").write_bytes(b"PK")  # what a full disk has left of another
