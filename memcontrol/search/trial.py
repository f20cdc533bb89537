"""One trial: a run of `fit` in a worker, through the same door as the command line."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from memcontrol.errors import MemControlError
from memcontrol.search.private import LOG, open_private
from memcontrol.search.space import Value
from memcontrol.search.sticky import dying_of_cuda_errors, is_out_of_memory

__all__ = ["TrialResult", "TrialSpec", "overlay_of", "run_fit", "run_trial"]


@dataclass(frozen=True)
class TrialSpec:
    """What a worker needs to know.

    Args:
        number: Number of the trial.
        folder: Run folder of the trial.
        config: Config file of the study.
        mask: Bit of each slot, or None where the mask is not searched.
        values: Settings by their dotted key.
        seed: Seed of the run.
        devices: Devices of the trial.
        threads: CPU threads.
        trust: Whether the study's config is trusted.
        halved: How often the batch was halved after running out of memory.
        prune_with: Journal that the trial compares itself with, or None.
        objectives: Measures that are traded off.
        logger: Config of a logger beside the run folder's csv, or None.
        overlays: Config files that are laid over the study's.
    """

    number: int
    folder: str
    config: str
    mask: tuple[int, ...] | None
    values: dict[str, Value]
    seed: int
    devices: int = 1
    threads: int | None = None
    trust: bool = False
    halved: int = 0
    prune_with: str | None = None
    objectives: tuple[str, ...] = ()
    logger: dict[str, Any] | None = None
    overlays: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrialResult:
    """What a worker reports.

    Args:
        error: Class and text of the error, which may name paths and ids, or None.
        out_of_memory: Whether memory ran out, which half a batch may mend.
        pruned: Whether the trial was stopped early.
        seconds: Time spent, by what it was spent on.
    """

    error: str | None = None
    out_of_memory: bool = False
    pruned: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


def overlay_of(mask: tuple[int, ...] | None, values: dict[str, Value]) -> dict[str, Any]:
    """Return the config overlay of a mask and settings."""
    tree: dict[str, Any] = {"model": {"mask": list(mask)}} if mask is not None else {}
    for key, value in values.items():
        _put(tree, key, value)
    return tree


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value


def _arguments(spec: TrialSpec) -> list[str]:
    folder = Path(spec.folder)
    tree = overlay_of(spec.mask, spec.values)
    logger = {"save_dir": str(folder.parent.parent), "name": folder.parent.name, "version": folder.name}
    tree["trainer"] = {
        **tree.get("trainer", {}),
        "logger": [
            {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": logger},
            *([spec.logger] if spec.logger is not None else []),
        ],
        "devices": spec.devices,
        "default_root_dir": str(folder),  # several trials may run in one SLURM job
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    tree["seed_everything"] = spec.seed
    if spec.halved:
        _halve(tree, yaml.safe_load(Path(spec.config).read_text()), 2**spec.halved)
    added: list[dict[str, Any]] = [{"class_path": "callbacks.TimingCallback"}]
    if spec.prune_with is not None:
        options = {"journal": spec.prune_with, "objectives": list(spec.objectives)}
        added.append({"class_path": "callbacks.PruningCallback", "init_args": options})
    tree["trainer"]["callbacks+"] = added
    overlay = folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(tree, sort_keys=False))
    args = ["fit"]
    for config in (spec.config, *spec.overlays, str(overlay)):
        args += ["--config", config]
    if spec.trust:
        args.append("--trust-config")
    stale = ["pruned.json"]
    if list((folder / "checkpoints").glob("*.ckpt")):
        args.append(f"--ckpt_path={folder}")
    else:
        stale += ["config.yaml", "rewards.jsonl", "metrics.csv"]  # of an attempt that left nothing to go on from
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return args


def _halve(tree: dict[str, Any], base: dict[str, Any], parts: int) -> None:
    """Split each batch into parts that are accumulated, so that steps and validations stay what they were."""
    trainer = base["trainer"] | tree["trainer"]
    proposed = tree.get("data", {}).get("batch_size")
    batch = proposed or base["data"]["init_args"].get("batch_size", 16)
    parts = min(parts, batch)
    _put(tree, "data.batch_size", batch // parts)
    tree["trainer"]["accumulate_grad_batches"] = parts * (trainer.get("accumulate_grad_batches") or 1)
    if isinstance(trainer.get("val_check_interval"), int):
        tree["trainer"]["val_check_interval"] = parts * trainer["val_check_interval"]


def run_trial(spec: TrialSpec) -> TrialResult:
    """Run a trial, in this process or, on several devices, in one of its own.

    The trial's folder is locked: a worker that outlived its controller (on another machine, until it misses the
    heartbeat) may still write there, and is waited for.

    Returns:
        How it ended; its points are in its folder, its output in `trial.log`.
    """
    from filelock import FileLock

    from memcontrol.search.ranks import run_ranks

    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"):
        os.environ.pop(name, None)  # a trial is no rank of the job that its worker runs in
    Path(spec.folder).mkdir(parents=True, exist_ok=True)
    log = Path(spec.folder) / LOG
    with FileLock(Path(spec.folder) / "trial.lock"):
        args = _arguments(spec)
        if spec.devices > 1:
            return run_ranks(args, log, max(1, spec.threads // spec.devices) if spec.threads else None)
        return run_fit(args, log, spec.threads)


def run_fit(args: list[str], log: Path, threads: int | None = None) -> TrialResult:
    """Run `fit` in this process, which ends at a CUDA error that it cannot go on after.

    Args:
        args: Arguments of the command line.
        log: File that its output is appended to.
        threads: CPU threads, or None to leave them alone.
    """
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    import callbacks  # noqa: F401 - short class names resolve
    from memcontrol import resident
    from memcontrol.cli import main

    resident.enable()
    _use_threads(threads)
    started = time.monotonic()
    try:
        with open_private(log) as file, dying_of_cuda_errors(file):
            with _into(file):
                cli = main(args)
            timing = _timing(cli.trainer)
            pruned = (log.parent / "pruned.json").is_file()
            cli.model._adapted.eject()
            _free(cli)
        return TrialResult(pruned=pruned, seconds={**timing, "total": time.monotonic() - started})
    except SIGTERMException:
        raise  # not a failure of the trial: its machine is taken away
    except SystemExit as error:
        resident.clear()
        why = _why(error) if error.__cause__ is not None else f"SystemExit: {_last_lines(log)}"
        return TrialResult(why, seconds={"total": time.monotonic() - started})
    except Exception as error:
        resident.clear()
        text = "".join(traceback.format_exception(error))
        with open_private(log) as file:
            file.write(text)
        return TrialResult(_why(error), is_out_of_memory(error), seconds={"total": time.monotonic() - started})
    finally:
        _end_tracking()
        gc.collect()


def _last_lines(log: Path, count: int = 3) -> str:
    """Return what a run printed last, which says why its config was refused."""
    return " ".join(log.read_text().strip().splitlines()[-count:])[-500:]


def _why(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, SystemExit) and error.__cause__ is not None else error
    found: BaseException | None = cause
    while found is not None and not isinstance(found, MemControlError):
        found = found.__cause__ or found.__context__
    shown = found or cause
    return f"{type(shown).__name__}: {shown}"


def _timing(trainer: Any) -> dict[str, float]:
    """Return the seconds of training, of sampling, of scoring what was sampled, and of the rest of validation."""
    (timing,) = (callback for callback in trainer.callbacks if hasattr(callback, "validating"))
    scorers = [callback for callback in trainer.callbacks if hasattr(callback, "validation_seconds")]
    inside = sum(callback.validation_seconds for callback in scorers)
    sampling = sum(callback.sampling_seconds for callback in scorers)
    return {
        "training": timing.training - timing.validating,
        "sampling": sampling,
        "scoring": sum(callback.seconds for callback in scorers) - sampling,
        "validation": max(0.0, timing.validating - inside),
    }


def _free(cli: Any) -> None:
    import torch

    cli.trainer.strategy.teardown()
    del cli.trainer
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _end_tracking() -> None:
    """End a run in Weights & Biases, so that the next trial gets one of its own."""
    import wandb

    if wandb.run is not None:
        wandb.run.finish()


def _use_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)


@contextlib.contextmanager
def _into(file: Any) -> Any:
    """Send what is printed and logged into a file."""
    handler = logging.StreamHandler(file)
    loggers = [logging.getLogger(name) for name in ("memcontrol", "lightning.pytorch", "lightning.fabric")]
    kept = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield
    finally:
        for logger, handlers, propagate in kept:
            logger.handlers, logger.propagate = handlers, propagate
        sys.stdout.flush()
