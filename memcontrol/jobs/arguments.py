"""A job as arguments of the command line: a config, overlays, and one of its own."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from memcontrol.errors import CheckpointError
from memcontrol.files.atomic import write_text
from memcontrol.files.checkpoints import find_checkpoint
from memcontrol.files.run_folder import CHECKPOINTS, CONFIG, METRICS, OVERLAY, PARETO, PRUNED, REWARDS
from memcontrol.jobs.job import Job, put
from memcontrol.privacy import PrivacyOptions

__all__ = ["arguments_of"]

MICROBATCH = PrivacyOptions.microbatch
TIMING = {"class_path": "memcontrol.callbacks.TimingCallback"}


def arguments_of(job: Job) -> list[str]:
    """Write the job's own overlay into its folder, and return the arguments of `fit`.

    A folder with a checkpoint is gone on with; what an attempt has left that left none is removed.
    """
    folder = Path(job.folder)
    overlay = _overlay_as_before(job)
    _forget_other_batches(folder, overlay)
    write_text(folder / OVERLAY, yaml.safe_dump(overlay, sort_keys=False))
    args = ["fit"]
    for config in (job.config, *job.overlays, str(folder / OVERLAY)):
        args += ["--config", config]
    if job.trust:
        args.append("--trust-config")
    stale = [PRUNED]
    if _has_begun(folder):
        args.append(f"--ckpt_path={folder}")
    else:
        stale += [CONFIG, REWARDS, METRICS]
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return args


def _overlay_as_before(job: Job) -> dict[str, Any]:
    """Return the job's overlay; at half the batch where an attempt has begun so when memory ran out."""
    folder, overlay = Path(job.folder), _overlay(job)
    path = folder / OVERLAY
    if job.halved or not path.is_file() or not _has_begun(folder):
        return overlay
    before, halved = yaml.safe_load(path.read_text()) or {}, _overlay(replace(job, halved=1))
    sizes = [tree.get("data", {}).get("batch_size") for tree in (overlay, before, halved)]
    return halved if sizes[0] != sizes[1] == sizes[2] else overlay


def _has_begun(folder: Path) -> bool:
    """Whether an attempt has left a checkpoint that is whole; a full disk leaves parts of one."""
    try:
        find_checkpoint(folder)
    except CheckpointError:
        return False
    return True


def _forget_other_batches(folder: Path, overlay: dict[str, Any]) -> None:
    """Remove what an attempt with another batch size has left: a run cannot go on in the midst of other batches."""
    path = folder / OVERLAY
    before = (yaml.safe_load(path.read_text()) or {}) if path.is_file() else overlay
    sizes = [tree.get("data", {}).get("batch_size") for tree in (before, overlay)]
    if sizes[0] != sizes[1]:
        for name in (CHECKPOINTS, PARETO):
            shutil.rmtree(folder / name, ignore_errors=True)


def _overlay(job: Job) -> dict[str, Any]:
    folder = Path(job.folder)
    tree: dict[str, Any] = deepcopy(dict(job.overlay))
    logger = {"save_dir": str(folder.parent.parent), "name": folder.parent.name, "version": folder.name}
    tree["trainer"] = {
        **tree.get("trainer", {}),
        "logger": [
            {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": logger},
            *([dict(job.logger)] if job.logger is not None else []),
        ],
        "devices": job.devices,
        "default_root_dir": str(folder),  # several jobs may run in one SLURM job
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks+": [*map(dict, job.callbacks), TIMING],
    }
    tree["seed_everything"] = job.seed
    if job.halved:
        _halve(tree, yaml.safe_load(Path(job.config).read_text()), 2**job.halved)
    return tree


def _halve(tree: dict[str, Any], base: dict[str, Any], parts: int) -> None:
    """Split each batch into parts that are accumulated, so that steps and validations stay what they were.

    Private training goes through a batch in parts anyway.
    """
    trainer = base["trainer"] | tree["trainer"]
    found = [base.get("model", {}).get("init_args", {}), tree.get("model", {})]
    privacy = {key: value for part in found for key, value in (part.get("privacy") or {}).items()}
    if privacy:
        put(tree, "model.privacy.microbatch", max(1, (privacy.get("microbatch") or MICROBATCH) // parts))
        return
    proposed = tree.get("data", {}).get("batch_size")
    batch = proposed or base["data"]["init_args"].get("batch_size", 16)
    parts = min(parts, batch)
    put(tree, "data.batch_size", batch // parts)
    tree["trainer"]["accumulate_grad_batches"] = parts * (trainer.get("accumulate_grad_batches") or 1)
    if isinstance(trainer.get("val_check_interval"), int):
        tree["trainer"]["val_check_interval"] = parts * trainer["val_check_interval"]
