"""What a job's folder is told by an attempt before."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import yaml

from memcontrol.jobs.arguments import arguments_of
from memcontrol.jobs.job import Job


@pytest.fixture
def job(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"model": {}, "trainer": {}, "data": {"init_args": {"batch_size": 16}}}))
    return Job(str(tmp_path / "study" / "trials" / "trial-0000"), "memcontrol.cli:main", str(config), {}, 0)


def begun(job, tmp_path):
    """Leave what an attempt leaves; return the batch size of the next one, and whether it goes on."""
    folder = tmp_path / "study" / "trials" / "trial-0000"
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save({}, folder / "checkpoints" / "last.ckpt")
    args = arguments_of(job)
    overlay = yaml.safe_load((folder / "overlay.yaml").read_text())
    return overlay.get("data", {}).get("batch_size", 16), f"--ckpt_path={folder}" in args


def test_a_job_whose_memory_ran_out_goes_on_at_half_the_batch_after_a_restart(job, tmp_path):
    arguments_of(replace(job, halved=1))
    assert begun(job, tmp_path) == (8, True)
    assert begun(job, tmp_path) == (8, True)


def test_a_job_that_has_begun_goes_on_as_it_was(job, tmp_path):
    arguments_of(job)
    assert begun(job, tmp_path) == (16, True)
    assert begun(replace(job, halved=1), tmp_path) == (8, False)  # it is the memory that ran out
