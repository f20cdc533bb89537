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
| `timing.json` | seconds by what they were spent on | `TimingCallback` |
| `tracking.json` | the run's ids and folders in further loggers | the command line |
| `trial.log`, `overlay.yaml`, `trial.lock`, `pruned.json` | of a job: output, overlay, lock, mark | jobs |
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = [
    "ADAPTER",
    "CARD",
    "CHECKPOINTS",
    "CONFIG",
    "HELDOUT",
    "IDENTITY",
    "LOCK",
    "LOG",
    "METRICS",
    "OVERLAY",
    "PARETO",
    "PRUNED",
    "REJECTED",
    "REWARDS",
    "SAMPLES",
    "TIMING",
    "find_run",
    "newest_run",
    "pareto_checkpoint",
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
