"""A `fit` that SLURM has started again goes on in its run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from memcontrol.errors import CheckpointError
from memcontrol.files.atomic import write_json
from memcontrol.files.checkpoints import read_checkpoint
from memcontrol.plain import read_mapping

__all__ = ["remember_run", "requeued_run", "root_of_job"]

RUN: Final = "run.json"
"""In a job's root folder: which run folder it writes to."""
CHECKPOINTS: Final = "hpc_ckpt_*.ckpt"
"""What Lightning saves when a job is taken away, and goes on from by itself."""


def root_of_job() -> dict[str, str]:
    """Give each SLURM job a root folder of its own: Lightning goes on from any requeue checkpoint that lies there."""
    return {"default_root_dir": str(Path("runs") / "slurm" / _job())} if _job() else {}


def remember_run(root: str, run: str) -> None:
    """Note which run folder a job writes to."""
    write_json(Path(root) / RUN, {"job": _job(), "run": str(Path(run).absolute())})


def requeued_run(root: str) -> tuple[Path, int] | None:
    """Return the run folder that a job wrote to before it was taken away, and the step that it goes on from.

    Args:
        root: Root folder of the job.

    Returns:
        None where the job begins.

    Raises:
        CheckpointError: If the folder holds what another job has left, from which Lightning would go on.
    """
    saved = sorted(Path(root).glob(CHECKPOINTS), key=lambda path: int("".join(filter(str.isdigit, path.stem)) or 0))
    note = Path(root) / RUN
    if not saved or not note.is_file():
        return None
    known = read_mapping(note, CheckpointError)
    if known.get("job") != _job():
        raise CheckpointError(
            f"The folder {root!r} holds {saved[-1].name} of the SLURM job {known.get('job')}, from which this one "
            "would go on. Remove it, or name another `--trainer.default_root_dir` (by default each job has its own)."
        )
    run = Path(str(known.get("run")))
    return (run, read_checkpoint(saved[-1])[0].step) if run.is_dir() else None


def _job() -> str:
    """Return the number of the SLURM job that this is."""
    return "-".join(os.environ[name] for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID") if name in os.environ)
