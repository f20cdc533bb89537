"""The config that the command line would make a run of, from module, data and callbacks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.described import config_of
from memcontrol.errors import ConfigError
from memcontrol.files.atomic import write_text
from memcontrol.module import MemControlModule

__all__ = ["config_of_run", "describable", "write_config"]

log = logging.getLogger("memcontrol")


def config_of_run(
    module: MemControlModule,
    data: CaptionedImageDataModule,
    callbacks: Sequence[Callback],
    *,
    max_steps: int,
    val_check_interval: int,
    precision: str,
    gradient_clip_val: float | None,
    folder: Path,
) -> dict[str, Any]:
    """Return the config of a run.

    Args:
        module: What is trained.
        data: What it is trained on.
        callbacks: Callbacks, each of a class that is `Described`.
        max_steps: Optimizer steps.
        val_check_interval: Steps from one validation to the next.
        precision: Precision of training.
        gradient_clip_val: Largest norm of a step's gradient.
        folder: Folder of runs that a run of the config makes a new one in.

    Raises:
        ConfigError: If an object cannot be written into a config.
    """
    parts = {"model": config_of(module), "data": config_of(data)}
    for part in parts.values():
        part["init_args"].pop("seed", None)  # the one seed goes to both
    logger = {"save_dir": str(folder.parent), "name": folder.name}
    return {
        "seed_everything": module.seed,
        **parts,
        "trainer": {
            "max_steps": max_steps,
            "val_check_interval": val_check_interval,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "precision": precision,
            "gradient_clip_val": gradient_clip_val,
            "devices": 1,
            "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": logger},
            "callbacks": [config_of(callback) for callback in callbacks],
        },
    }


def describable(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks that a config can hold, and say which it cannot."""
    found = []
    for callback in callbacks:
        try:
            config_of(callback)
        except ConfigError as error:
            log.warning("The run's config.yaml leaves a callback out: %s", error)
        else:
            found.append(callback)
    return found


def write_config(path: Path, config: dict[str, Any]) -> None:
    """Write a config as YAML."""
    write_text(path, yaml.safe_dump(config, sort_keys=False))
