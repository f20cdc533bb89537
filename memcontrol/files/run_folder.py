"""A run's folder: the names of all that lies in it, and how the folder of a run is found.

| name | what it is | written by |
| --- | --- | --- |
| `config.yaml` | the resolved config | Lightning |
| `metrics.csv` | logged numbers | CSVLogger |
| `checkpoints/` | what is trained, with the state of training | `AdapterCheckpoint` |
| `adapter/` | a PEFT folder with `memcontrol.json` | `AdapterCheckpoint` |
| `samples/` | grids of pictures | `SampleGridCallback` |
| `heldout.json` | loss against the untouched base | `BaselineCallback` |
| `rewards.jsonl` | one line per scored validation | `RewardsCallback` |
| `pareto/` | checkpoints that no other point of the run beats | `ParetoCheckpoint` |
| `verdict.json` | what the last audit concluded | `audit` |
| `patients.npz` | which patients it was made with, in digests, for `withdraw` | `PatientRecord` |
| `privacy.json` | what private training has spent | `model.privacy` |
| `privacy.key` | of a private run that has not ended: what its noise follows from | `model.privacy` |
| `exports.txt` | folders that the run was exported to | `export` |
| `timing.json` | seconds by what they were spent on | `TimingCallback` |
| `tracking.json` | the run's ids and folders in further loggers | the command line |
| `trial.log`, `overlay.yaml`, `trial.lock`, `pruned.json` | of a job: output, overlay, lock, mark | jobs |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from memcontrol.errors import CheckpointError
from memcontrol.files.atomic import write_json
from memcontrol.plain import read_mapping

__all__ = [
    "ADAPTER",
    "AUDIT",
    "CARD",
    "CHECKPOINTS",
    "CONFIG",
    "EXPORTS",
    "HELDOUT",
    "IDENTITY",
    "LOCK",
    "LOG",
    "METRICS",
    "OVERLAY",
    "PARETO",
    "PATIENTS",
    "PRIVACY",
    "PRUNED",
    "REJECTED",
    "REWARDS",
    "SAMPLES",
    "SECRET",
    "TIMING",
    "VERDICT",
    "find_run",
    "newest_run",
    "pareto_checkpoint",
    "read_verdict",
    "write_verdict",
]

CONFIG: Final = "config.yaml"
METRICS: Final = "metrics.csv"
CHECKPOINTS: Final = "checkpoints"
ADAPTER: Final = "adapter"
CARD: Final = "memcontrol.json"
SAMPLES: Final = "samples"
HELDOUT: Final = "heldout.json"
IDENTITY: Final = "tracking.json"
REWARDS: Final = "rewards.jsonl"
PARETO: Final = "pareto"
REJECTED: Final = "rejected.csv"
TIMING: Final = "timing.json"
EXPORTS: Final = "exports.txt"
AUDIT: Final = "audit.json"
"""In the folder of an audit."""
PATIENTS: Final = "patients.npz"
PRIVACY: Final = "privacy.json"
SECRET: Final = "privacy.key"
VERDICT: Final = "verdict.json"
LOG: Final = "trial.log"
OVERLAY: Final = "overlay.yaml"
LOCK: Final = "trial.lock"
PRUNED: Final = "pruned.json"


def pareto_checkpoint(run: Path, step: int) -> Path:
    """Return the checkpoint that a run keeps of a step that no other of its points beats."""
    return run / PARETO / f"step-{step:07d}.ckpt"


def newest_run(path: Path) -> Path:
    """Return the newest run in a folder of runs (`version_0`, `version_1`, ...), or the path itself if it is none."""
    runs = [folder for folder in path.glob("version_*") if (folder / CHECKPOINTS).is_dir()]
    if (path / CHECKPOINTS).is_dir() or not runs:
        return path
    return max(runs, key=lambda folder: folder.stat().st_mtime_ns)


def find_run(path: Path) -> Path | None:
    """Return the run folder that a path is or lies in, or None."""
    path = newest_run(path)
    for folder in (path, *path.parents[:2]):
        if (folder / CHECKPOINTS).is_dir():
            return folder
    return None


VERDICT_FIELDS: Final[dict[str, type | tuple[type, ...]]] = {
    "date": str,
    "version": str,
    "step": int,
    "scale": (int, float),
    "sentence": str,
    "details": list,
    "training_patients": int,
    "heldout_patients": int,
}


def write_verdict(run: Path, verdict: Mapping[str, Any]) -> None:
    """Write what an audit of a run concluded into its folder.

    Args:
        run: Run folder.
        verdict: Values of `VERDICT_FIELDS`, and what else there is.
    """
    write_json(run / VERDICT, dict(verdict))


def read_verdict(run: Path) -> dict[str, Any] | None:
    """Return what the last audit of a run concluded, or None where there was none.

    Raises:
        CheckpointError: If the file is damaged.
    """
    path = run / VERDICT
    if not path.is_file():
        return None
    values = read_mapping(path, CheckpointError)
    wrong = sorted(name for name, kind in VERDICT_FIELDS.items() if not isinstance(values.get(name), kind))
    if wrong:
        raise CheckpointError(f"{path} has no proper values of {wrong}. It is damaged; audit the run again.")
    return values
