"""Arguments of short studies, what they left, and what stands for their workers and trials."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest

from memcontrol.files.journal import Journal
from memcontrol.jobs.job import JobResult
from memcontrol.search.records import read_trials
from tests.conf import short_run

SCORING = (
    "{class_path: callbacks.RewardsCallback, init_args: {memorization: noise_norm, quality: kid, scoring: "
    "{num_images: 8, num_probes: 8, draws: 1, attacks: false, sampling: {steps: 1}, encoder: {class_path: "
    "memcontrol.measures.encoders.PhantomEncoder}}}}"
)
KEEP = (
    "{class_path: callbacks.ParetoCheckpoint},"
    "{class_path: callbacks.AdapterCheckpoint, init_args: {every_n_train_steps: 1}}"
)


class Inline(Executor):
    """Runs what it is given at once, in this process; what a worker keeps is kept for its jobs alone."""

    def __init__(self):
        self.kept = {}

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("memcontrol.files.worker_cache._store", self.kept)
            patch.setattr("memcontrol.files.worker_cache._enabled", False)
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)
        return future


@contextlib.contextmanager
def inline_workers():
    """Jobs of searches, comparisons and audits run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for place in ("search.run", "compare.run", "audit.shadows"):
            patch.setattr(f"memcontrol.{place}.local_workers", lambda *args: Inline())
        yield


class Trials:
    """Stands for the running of trials: each ends as planned for its number, or completes.

    Args:
        plan: Text of the error of a trial, or an exception that its worker ends with.
    """

    def __init__(self, plan):
        self.plan = plan
        self.started = []

    def __call__(self, job):
        number = int(Path(job.folder).name.rpartition("-")[2])
        self.started.append(number)
        ends = self.plan.get(number)
        if isinstance(ends, Exception):
            raise ends
        if ends is None:
            measures = [
                {"name": name, "value": {"value": v, "low": v - 1, "high": v + 1, "n": 8}, "higher_is_better": False}
                for name, v in (("noise_norm", 1.0 + sum(job.overlay["model"]["mask"])), ("kid", 2.0))
            ]
            folder = Path(job.folder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "rewards.jsonl").write_text(json.dumps({"step": 1, "measures": measures}) + "\n")
        return JobResult(ends)


def arguments(folder, trials=3, *extra):
    args = [a for a in short_run(folder) if "callbacks" not in a and "logger" not in a][1:]
    return [
        "search", *args, "--trainer.max_steps=2", "--trainer.val_check_interval=1",
        f"--search.study={folder / 'study'}",
        f"--trainer.callbacks=[{SCORING},{KEEP}]", f"--search.trials={trials}", "--search.workers=1",
        "--search.objectives=[noise_norm,kid]", "--search.rescore_factor=0", "--search.threads=1", *extra,
    ]  # fmt: skip


def trials(folder):
    return read_trials(Journal(folder / "study" / "journal.jsonl"))
