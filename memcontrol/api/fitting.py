"""`mc.fit`: a module and data, trained as the command line trains them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, Logger

from memcontrol.api.configs import config_of_run, describable, write_config
from memcontrol.api.private_files import private_files
from memcontrol.api.results import Run
from memcontrol.callbacks import AdapterCheckpoint, AuditForecast, PatientRecord, StepProgressBar
from memcontrol.cli.metrics import set_metrics_aside, take_metrics_up
from memcontrol.cli.quiet import quieten
from memcontrol.cli.trainer import MemControlTrainer
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.errors import CheckpointError
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.run_folder import CONFIG, find_run
from memcontrol.module import MemControlModule

__all__ = ["fit"]


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
        ConfigError: If module or data are of a class that no config can hold.

    Example:
        >>> import memcontrol.api as mc
        >>> run = mc.fit(mc.MemControlModule(adapter=mc.SVDiffConfig()), mc.PhantomDataModule(), max_steps=100)
        ... # doctest: +SKIP
        >>> run.pipeline()("CXR PA, 60M; cardiomegaly").images[0]  # doctest: +SKIP
    """
    quieten()
    with private_files():
        checkpoint, logger = _begin(Path(folder).expanduser(), resume)
        interval = val_check_interval or max_steps
        chosen = list(callbacks)
        if not any(isinstance(callback, AdapterCheckpoint) for callback in chosen):
            chosen.append(AdapterCheckpoint())
        trainer = MemControlTrainer(
            max_steps=max_steps,
            val_check_interval=interval,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, max_steps),
            accelerator=accelerator,
            devices=devices,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
            gradient_clip_val=gradient_clip_val,
            logger=[logger, *loggers],
            callbacks=[*chosen, AuditForecast(), PatientRecord(), *([StepProgressBar()] if progress else [])],
            enable_progress_bar=progress,
            enable_model_summary=False,
        )
        run = Path(logger.log_dir)
        if trainer.is_global_zero and checkpoint is not None:
            take_metrics_up(run, trainer.loggers, read_checkpoint(Path(checkpoint))[0].step)
        elif trainer.is_global_zero:
            config = config_of_run(
                module,
                data,
                describable(chosen),
                max_steps=max_steps,
                val_check_interval=interval,
                precision=precision,
                gradient_clip_val=gradient_clip_val,
                folder=run.parent,
            )
            write_config(run / CONFIG, config)
        trainer.fit(module, data, ckpt_path=checkpoint)
        return Run(run)


def _begin(folder: Path, resume: Run | str | Path | None) -> tuple[str | None, CSVLogger]:
    """Return what is gone on from, and the logger of the run folder."""
    if resume is None:
        return None, CSVLogger(str(folder.parent), folder.name)
    source = (resume.folder if isinstance(resume, Run) else Path(resume)).expanduser()
    run = find_run(source)
    if run is None:
        raise CheckpointError(
            f"Argument `resume` is {str(source)!r}, which is no run folder and lies in none. Give what `fit` "
            "returned, its folder, or a checkpoint in it."
        )
    set_metrics_aside(run)
    logger = CSVLogger(str(run.parent.parent), run.parent.name, version=run.name)
    return str(find_checkpoint(source)), logger
