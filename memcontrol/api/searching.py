"""`mc.search`: a study, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from lightning.pytorch import Callback

from memcontrol.api.configs import config_of_run, write_config
from memcontrol.api.private_files import private_files
from memcontrol.api.results import StudyResult
from memcontrol.callbacks import AdapterCheckpoint, ParetoCheckpoint, RewardsCallback
from memcontrol.cli.main import run_in_process
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.described import config_of
from memcontrol.errors import SearchError
from memcontrol.module import MemControlModule
from memcontrol.search.options import SearchOptions

__all__ = ["search"]


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
        raise SearchError(
            f"Argument `options.executor` is {type(options.executor).__name__}, an object that no config can hold. "
            "Leave it out, or name its class in a YAML config and run the command line."
        )
    interval = val_check_interval or max_steps
    ours: list[Callback] = [rewards, ParetoCheckpoint(), AdapterCheckpoint(every_n_train_steps=interval), *callbacks]
    folder = Path(options.study).expanduser()
    config = config_of_run(
        module,
        data,
        ours,
        max_steps=max_steps,
        val_check_interval=interval,
        precision=precision,
        gradient_clip_val=gradient_clip_val,
        folder=folder,
    )
    config["search"] = {f.name: config_of(getattr(options, f.name)) for f in fields(options) if f.name != "executor"}
    with private_files():
        asked = folder.with_name(f"{folder.name}.yaml")
        write_config(asked, config)
        run_in_process(["search", "--config", str(asked), *(["--trust-config"] if trust else [])])
    return StudyResult(folder)
