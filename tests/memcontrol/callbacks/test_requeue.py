"""SLURM's signal waits for the end of a step, and all ranks answer it together."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from memcontrol.callbacks.requeue import RequeueSignal
from memcontrol.cli.requeued import remember_run, requeued_run
from memcontrol.errors import CheckpointError


class Ranks:
    """Two ranks whose decisions are reduced together."""

    def __init__(self):
        self.accumulates = False
        self.others_say = False

    def trainer(self):
        return SimpleNamespace(
            _accelerator_connector=SimpleNamespace(cluster_environment=SLURMEnvironment(auto_requeue=True)),
            fit_loop=SimpleNamespace(_should_accumulate=lambda: self.accumulates),
            strategy=SimpleNamespace(reduce_boolean_decision=lambda own, all: own or self.others_say),
        )


@pytest.fixture
def saved():
    """Count how often Lightning's handler was called."""
    calls = []
    kept = signal.signal(signal.SIGUSR1, lambda number, frame: calls.append(number))
    yield calls
    signal.signal(signal.SIGUSR1, kept)


def test_it_waits_for_the_end_of_a_step_and_answers_once(saved):
    ranks, requeue = Ranks(), RequeueSignal()
    requeue.defer(ranks.trainer())
    signal.raise_signal(signal.SIGUSR1)
    assert saved == []
    ranks.accumulates = True
    requeue.take(ranks.trainer())
    assert saved == []  # accumulated gradients are in no checkpoint
    ranks.accumulates = False
    requeue.take(ranks.trainer())
    signal.raise_signal(signal.SIGUSR1)
    requeue.take(ranks.trainer())
    assert saved == [signal.SIGUSR1]


def test_a_rank_that_the_signal_has_not_reached_saves_with_the_others(saved):
    ranks, requeue = Ranks(), RequeueSignal()
    requeue.defer(ranks.trainer())
    requeue.take(ranks.trainer())
    assert saved == []
    ranks.others_say = True
    requeue.take(ranks.trainer())
    assert saved == [signal.SIGUSR1]


def test_another_job_does_not_go_on_in_the_first_one_s_folder(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    remember_run(str(tmp_path), str(tmp_path / "run"))
    assert requeued_run(str(tmp_path)) is None  # nothing was saved
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"")
    monkeypatch.setenv("SLURM_JOB_ID", "2")
    with pytest.raises(CheckpointError, match=r"hpc_ckpt_1\.ckpt of the SLURM job 1"):
        requeued_run(str(tmp_path))
