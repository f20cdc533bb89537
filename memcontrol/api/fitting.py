"""`mc.fit`: a module and data, trained as the command line trains them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, Logger

from memcontrol.api.results import Run
from memcontrol.callbacks import AdapterCheckpoint, AuditForecast, PatientRecord, StepProgressBar
from memcontrol.cli.metrics import set_metrics_aside, take_metrics_up
from memcontrol.cli.quiet import quieten
from memcontrol.cli.trainer import MemControlTrainer
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.described import config_of
from memcontrol.errors import CheckpointError, ConfigError
from memcontrol.files.atomic import write_text
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.run_folder import CONFIG, find_run
from memcontrol.module import MemControlModule

__all__ = ["fit", "private_files"]

log = logging.getLogger("memcontrol")


def fit(
    module: MemControlModule,
    data: CaptionedImageDataModule,
    *,
    max_steps: int,
    folder: str | Path = "runs/fit",
    val_check_interval: int | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    accelerator: str = "auto",
    devices: int | str | list[int] = "auto",
    strategy: str = "auto",
    precision: str = "32-true",
    gradient_clip_val: float | None = 1.0,
    resume: Run | str | Path | None = None,
    progress: bool = True,
) -> Run:
    """Fine-tune under the mask; the module is the trained one afterwards.

    Args:
        module: What is trained.
        data: What it is trained on.
        max_steps: Optimizer steps.
        folder: Folder of runs: each call makes `version_0`, `version_1`, ... in it.
        val_check_interval: Steps from one validation to the next; by default one validation at the end.
        callbacks: Callbacks, such as `RewardsCallback`; an `AdapterCheckpoint` is added unless there is one.
        loggers: Loggers beside the table of numbers in the run folder.
        accelerator: See `lightning.pytorch.Trainer`, as all below but `resume` and `progress`.
        devices: Devices.
        strategy: Strategy; in a notebook, one device.
        precision: Precision.
        gradient_clip_val: Largest norm of a step's gradient.
        resume: A run, or its folder or checkpoint, to go on from, in the same folder.
        progress: Whether to show a bar.

    Returns:
        The run.

    Raises:
        MemControlError: If something cannot work as configured.

    Example:
        >>> import memcontrol.api as mc
        >>> run = mc.fit(mc.MemControlModule(adapter=mc.SVDiffConfig()), mc.PhantomDataModule(), max_steps=100)
        ... # doctest: +SKIP
        >>> run.pipeline()("CXR PA, 60M; cardiomegaly").images[0]  # doctest: +SKIP
    """
    quieten()
    with private_files():
        path = Path(folder).expanduser()
        checkpoint, logger = _begin(path, resume)
        trainer = MemControlTrainer(
            max_steps=max_steps,
            val_check_interval=val_check_interval or max_steps,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, max_steps),
            accelerator=accelerator,
            devices=devices,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
            gradient_clip_val=gradient_clip_val,
            logger=[logger, *loggers],
            callbacks=_with_ours(callbacks, progress),
            enable_progress_bar=progress,
            enable_model_summary=False,
        )
        run = Path(logger.log_dir)
        if trainer.is_global_zero and checkpoint is not None:
            take_metrics_up(run, trainer.loggers, read_checkpoint(Path(checkpoint))[0].step)
        elif trainer.is_global_zero:
            _write_config(run, module, data, max_steps, val_check_interval or max_steps, gradient_clip_val, precision)
        trainer.fit(module, data, ckpt_path=checkpoint)
        return Run(run)


@contextmanager
def private_files() -> Iterator[None]:
    """Make files that are their owner's alone inside the block: all that is written is made of patients' data."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _begin(folder: Path, resume: Run | str | Path | None) -> tuple[str | None, CSVLogger]:
    """Return what is gone on from, and the logger of the run folder."""
    if resume is None:
        return None, CSVLogger(str(folder.parent), folder.name)
    source = (resume.folder if isinstance(resume, Run) else Path(resume)).expanduser()
    run = find_run(source)
    if run is None:
        raise CheckpointError(f"Argument `resume` is {str(source)!r}, which is no run and lies in none.")
    set_metrics_aside(run)
    logger = CSVLogger(str(run.parent.parent), run.parent.name, version=run.name)
    return str(find_checkpoint(source)), logger


def _with_ours(callbacks: Sequence[Callback], progress: bool) -> list[Callback]:
    found = list(callbacks)
    if not any(isinstance(callback, AdapterCheckpoint) for callback in found):
        found.append(AdapterCheckpoint())
    return [*found, AuditForecast(), PatientRecord(), *([StepProgressBar()] if progress else [])]


def _write_config(
    run: Path, module: Any, data: Any, steps: int, interval: int, clip: float | None, precision: str
) -> None:
    """Write what the command line would make this run from, for shadow models and for the reader."""
    trainer: dict[str, Any] = {"max_steps": steps, "val_check_interval": interval, "check_val_every_n_epoch": None}
    trainer |= {"num_sanity_val_steps": 0, "gradient_clip_val": clip, "precision": precision, "devices": 1}
    trainer |= {"callbacks": [{"class_path": "callbacks.AdapterCheckpoint"}]}
    try:
        config = {"seed_everything": module.seed, "model": config_of(module), "data": config_of(data)}
    except ConfigError as error:
        log.warning("The run has no config.yaml: %s", error)
        return
    for part in ("model", "data"):
        config[part]["init_args"].pop("seed", None)  # the one seed goes to both
    write_text(run / CONFIG, yaml.safe_dump({**config, "trainer": trainer}, sort_keys=False))
