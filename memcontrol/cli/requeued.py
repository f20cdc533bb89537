"""A `fit` that SLURM has started again goes on in its run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from memcontrol.files.atomic import write_text
from memcontrol.files.checkpoints import read_checkpoint

__all__ = ["remember_run", "requeued_run", "root_of_job"]

RUN: Final = "run.txt"
"""In a job's root folder: which run folder it writes to."""
CHECKPOINTS: Final = "hpc_ckpt_*.ckpt"
"""What Lightning saves when a job is taken away, and goes on from by itself."""


def root_of_job() -> dict[str, str]:
    """Give each SLURM job a root folder of its own: Lightning goes on from any requeue checkpoint that lies there."""
    job = [os.environ[name] for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID") if name in os.environ]
    return {"default_root_dir": str(Path("runs") / "slurm" / "-".join(job))} if job else {}


def remember_run(root: str, run: str) -> None:
    """Note which run folder a job writes to."""
    write_text(Path(root) / RUN, str(Path(run).absolute()))


def requeued_run(root: str) -> tuple[Path, int] | None:
    """Return the run folder that a job wrote to before it was taken away, and the step that it goes on from.

    Args:
        root: Root folder of the job.

    Returns:
        None where the job begins.
    """
    saved = sorted(Path(root).glob(CHECKPOINTS), key=lambda path: int("".join(filter(str.isdigit, path.stem)) or 0))
    note = Path(root) / RUN
    if not saved or not note.is_file():
        return None
    run = Path(note.read_text().strip())
    return (run, read_checkpoint(saved[-1])[0].step) if run.is_dir() else None
