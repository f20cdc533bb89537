"""A CUDA error leaves a process that fails at whatever comes next: a worker ends there, and a fresh one goes on."""

from __future__ import annotations

import os
import stat
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

from memcontrol import cli
from memcontrol.errors import RewardError
from memcontrol.jobs.cuda_errors import is_sticky
from memcontrol.jobs.run import run_fit
from memcontrol.jobs.workers import LocalWorkers

ASSERTED = "CUDA error: device-side assert triggered"


def chained(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError(ASSERTED), True),
        (torch.AcceleratorError("an illegal memory access was encountered"), True),
        (chained(SystemExit(2), chained(RewardError("no rewards"), RuntimeError(ASSERTED))), True),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
        (RuntimeError("CUDA error: out of memory"), False),
        (chained(RuntimeError("planted"), torch.OutOfMemoryError("CUDA out of memory")), False),
        (ValueError("shapes differ"), False),
    ],
)
def test_which_errors_are_sticky(error, expected):
    assert is_sticky(error) is expected


def meet(log, text):
    """Run a fit that meets an error, in a worker."""

    def fails(args):
        raise RuntimeError(text)

    cli.main = fails
    return os.getpid(), run_fit("memcontrol.cli:main", [], log).out_of_memory


@pytest.mark.whole
def test_a_worker_dies_of_a_cuda_error_and_lives_on_after_another(tmp_path):
    workers, log = LocalWorkers(1), tmp_path / "trial.log"
    try:
        pid, is_full = workers.submit(meet, log, "CUDA error: out of memory").result(120)
        assert is_full
        assert workers.submit(os.getpid).result(60) == pid
        with pytest.raises(BrokenProcessPool):
            workers.submit(meet, log, ASSERTED).result(60)
        assert ASSERTED in log.read_text()
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        assert workers.submit(os.getpid).result(60) != pid
    finally:
        workers.shutdown()
