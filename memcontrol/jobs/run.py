"""One job: a run of `fit` in a worker, through the same door as the command line."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
import wandb
from filelock import FileLock
from lightning.pytorch.utilities.exceptions import SIGTERMException

from memcontrol.errors import MemControlError
from memcontrol.files import worker_cache
from memcontrol.files.redaction import open_private
from memcontrol.files.run_folder import LOCK, LOG, PRUNED, TIMING
from memcontrol.jobs.arguments import arguments_of
from memcontrol.jobs.cuda_errors import dying_of_cuda_errors, is_out_of_memory
from memcontrol.jobs.entry import load_entry
from memcontrol.jobs.job import Job, JobResult
from memcontrol.jobs.processes import run_processes

__all__ = ["reason_of", "run_fit", "run_job", "use_threads"]


def run_job(job: Job) -> JobResult:
    """Run a job, in this process or, on several devices, in one of its own.

    The job's folder is locked: a worker that outlived its controller (on another machine, until it misses the
    heartbeat) may still write there, and is waited for.

    Returns:
        How it ended; its points are in its folder, its output in `trial.log`.
    """
    for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"):
        os.environ.pop(name, None)  # a job is no task of the SLURM job that its worker runs in
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        args = arguments_of(job)
        if job.devices > 1:
            threads = max(1, job.threads // job.devices) if job.threads else None
            return JobResult(**run_processes(job.entry, args, folder / LOG, threads))
        return run_fit(job.entry, args, folder / LOG, job.threads)


def run_fit(entry: str, args: list[str], log: Path, threads: int | None = None) -> JobResult:
    """Run `fit` in this process, which ends at a CUDA error that it cannot go on after.

    Args:
        entry: What runs it, as `module:function`.
        args: Arguments of the command line.
        log: File that its output is appended to.
        threads: CPU threads, or None to leave them alone.
    """
    worker_cache.enable()
    use_threads(threads)
    started = time.monotonic()
    try:
        with open_private(log) as file, dying_of_cuda_errors(file):
            with _into(file):
                cli = load_entry(entry)(args)
            cli.model.adapted.eject()
            _free(cli)
        is_pruned = (log.parent / PRUNED).is_file()
        return JobResult(pruned=is_pruned, seconds={**_timing(log.parent), "total": time.monotonic() - started})
    except SIGTERMException:
        raise  # not a failure of the job: its machine is taken away
    except SystemExit as error:
        worker_cache.clear()
        why = reason_of(error) if error.__cause__ is not None else f"SystemExit: {_last_lines(log)}"
        return JobResult(why, seconds={"total": time.monotonic() - started})
    except Exception as error:
        worker_cache.clear()
        text = "".join(traceback.format_exception(error))
        with open_private(log) as file:
            file.write(text)
        return JobResult(reason_of(error), is_out_of_memory(error), seconds={"total": time.monotonic() - started})
    finally:
        _end_tracking()
        gc.collect()


def _timing(folder: Path) -> dict[str, float]:
    path = folder / TIMING
    return json.loads(path.read_text()) if path.is_file() else {}


def _last_lines(log: Path, count: int = 3) -> str:
    """Return what a run printed last, which says why its config was refused."""
    return " ".join(log.read_text().strip().splitlines()[-count:])[-500:]


def reason_of(error: BaseException) -> str:
    """Return class and text of an error: of the one of ours that a library has wrapped, if there is one."""
    cause = error.__cause__ if isinstance(error, SystemExit) and error.__cause__ is not None else error
    found: BaseException | None = cause
    while found is not None and not isinstance(found, MemControlError):
        found = found.__cause__ or found.__context__
    shown = found or cause
    return f"{type(shown).__name__}: {shown}"


def _free(cli: Any) -> None:
    cli.trainer.strategy.teardown()
    del cli.trainer
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _end_tracking() -> None:
    """End a run in Weights & Biases, so that the next trial gets one of its own."""
    if wandb.run is not None:
        wandb.run.finish()


def use_threads(threads: int | None) -> None:
    """Use so many CPU threads in this process, or leave them alone."""
    if threads is not None:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)


@contextlib.contextmanager
def _into(file: Any) -> Any:
    """Send what is printed and logged into a file, of which no logger keeps a handler when it is closed."""
    handler = logging.StreamHandler(file)
    loggers = [logging.getLogger(name) for name in ("", "memcontrol", "lightning.pytorch", "lightning.fabric")]
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
