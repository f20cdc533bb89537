"""`mc.search`: a study, from Python."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback

from memcontrol.api.fitting import private_files
from memcontrol.api.results import StudyResult
from memcontrol.callbacks import AdapterCheckpoint, ParetoCheckpoint, RewardsCallback
from memcontrol.cli.main import run_in_process
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.described import config_of
from memcontrol.errors import SearchError
from memcontrol.files.atomic import write_text
from memcontrol.module import MemControlModule
from memcontrol.search.options import SearchOptions

__all__ = ["search"]

log = logging.getLogger("memcontrol")


def search(
    module: MemControlModule,
    data: CaptionedImageDataModule,
    *,
    max_steps: int,
    rewards: RewardsCallback,
    options: SearchOptions,
    val_check_interval: int | None = None,
    callbacks: Sequence[Callback] = (),
    precision: str = "32-true",
    gradient_clip_val: float | None = 1.0,
    trust: bool = False,
) -> StudyResult:
    """Search masks, and what else the options name, that trade memorization for quality.

    Each trial is a `fit` in a process of its own, so module, data and callbacks are written into a config
    (`NAME.yaml` beside the study's folder), and made from it there. The same call goes on with a study.

    Args:
        module: What is trained; its mask is what is searched, unless `options.search_mask` is false.
        data: What it is trained on.
        max_steps: Optimizer steps of a trial.
        rewards: What trials are measured by.
        options: Objectives, number of trials, what is searched.
        val_check_interval: Steps from one scored validation to the next; by default one, at the end.
        callbacks: Further callbacks of each trial.
        precision: Precision of training.
        gradient_clip_val: Largest norm of a step's gradient.
        trust: Whether classes that do not come with memcontrol may be made.

    Returns:
        The study.

    Raises:
        SearchError: If the study cannot be run as configured.
        ConfigError: If an object cannot be written into a config.
    """
    if options.executor is not None:
        raise SearchError("An executor is an object that no config can hold. Name its class in a YAML config.")
    interval = val_check_interval or max_steps
    ours = [rewards, ParetoCheckpoint(), AdapterCheckpoint(every_n_train_steps=interval), *callbacks]
    config: dict[str, Any] = {
        "seed_everything": module.seed,
        "model": config_of(module),
        "data": config_of(data),
        "trainer": {
            "max_steps": max_steps,
            "val_check_interval": interval,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "precision": precision,
            "gradient_clip_val": gradient_clip_val,
            "devices": 1,
            "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "runs"}},
            "callbacks": [config_of(callback) for callback in ours],
        },
        "search": {f.name: config_of(getattr(options, f.name)) for f in fields(options) if f.name != "executor"},
    }
    for part in ("model", "data"):
        config[part]["init_args"].pop("seed", None)  # the one seed goes to both
    folder = Path(options.study).expanduser()
    with private_files():
        asked = folder.with_name(f"{folder.name}.yaml")
        write_text(asked, yaml.safe_dump(config, sort_keys=False))
        run_in_process(["search", "--config", str(asked), *(["--trust-config"] if trust else [])])
    return StudyResult(folder)
