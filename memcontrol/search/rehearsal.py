"""Before the first trial: run a few steps and one validation, and say what the study will take."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from memcontrol.errors import SearchError
from memcontrol.jobs.job import Job, put
from memcontrol.jobs.loop import JobLoop, result_of
from memcontrol.plain import read_mapping
from memcontrol.search.estimate import size_of, spoken
from memcontrol.search.rehearsal_callback import REHEARSED, RehearsalCallback
from memcontrol.search.study import Study

__all__ = ["rehearse"]

log = logging.getLogger("memcontrol")

STEPS: Final = 10
LEAST_TRIALS: Final = 8
"""A study of fewer trials is not worth a rehearsal: its first trial tells as much."""
USUAL_FRONT: Final = 6
"""Points of a front, as studies have them, which are scored again."""
CALLBACK: Final = f"{RehearsalCallback.__module__}.{RehearsalCallback.__qualname__}"


def rehearse(study: Study, executor: Executor, jobs: Sequence[Job], workers: int) -> str | None:
    """Time what trials do, in the workers that will run them, and say what the study will take.

    What is left of a rehearsal is its times: its folders are removed. Loading the base, scoring it and filling the
    cache are not in vain, as trials need them.

    Args:
        study: The study.
        executor: Runs trials.
        jobs: Trials, of which the first steps and one validation are run; at once, as trials are.
        workers: Trials at once.

    Returns:
        A sentence, or None where nothing can be said beforehand: of few trials, of private ones, which would spend
        some of their budget, of those whose length is no number of steps, or where the rehearsal failed.
    """
    length = _length(study.plain)
    if study.options.trials < LEAST_TRIALS or length is None:
        return None
    log.info("Timing a few steps and a validation, to say what the study will take")
    folder = study.folder / "rehearsal"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        times = _run(executor, [_shortened(job, folder / f"part-{n}", study.plain) for n, job in enumerate(jobs)])
        if not times:
            return None
        size = max(size_of(run) for run in folder.iterdir())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    steps, validations = length
    step, validation = (sum(t[name] for t in times) / len(times) for name in ("step", "validation"))
    return _said(study, step, validation, steps, validations, size, workers)


def _length(plain: dict[str, Any]) -> tuple[int, int] | None:
    """Return how many steps and validations a trial has, or None where only its data tell, or it is private."""
    trainer = plain.get("trainer", {})
    steps, every = trainer.get("max_steps"), trainer.get("val_check_interval")
    is_private = bool(plain.get("model", {}).get("init_args", {}).get("privacy"))
    counts = isinstance(steps, int) and steps > 0 and isinstance(every, int) and not isinstance(every, bool)
    if is_private or not counts or trainer.get("check_val_every_n_epoch") is not None:
        return None
    return steps, math.ceil(steps * _batches(plain) / every)


def _batches(plain: dict[str, Any]) -> int:
    """Return the batches of a step."""
    return int(plain.get("trainer", {}).get("accumulate_grad_batches") or 1)


def _shortened(job: Job, folder: Path, plain: dict[str, Any]) -> Job:
    """Return a trial that ends after a few steps and one validation."""
    overlay: dict[str, Any] = deepcopy(dict(job.overlay))
    put(overlay, "trainer.max_steps", STEPS)
    put(overlay, "trainer.val_check_interval", STEPS * _batches(plain))
    return replace(job, folder=str(folder), overlay=overlay, callbacks=({"class_path": CALLBACK},), logger=None)


def _run(executor: Executor, jobs: Sequence[Job]) -> list[dict[str, float]]:
    loop: JobLoop[int] = JobLoop(executor, retries=0, label="rehearsal")
    for number, job in enumerate(jobs):
        loop.submit(number, job)
    times = []
    while loop.keys:
        for done in loop.wait():
            result, path = result_of(done), Path(jobs[done.key].folder) / REHEARSED
            if result.error is None and path.is_file():
                times.append(read_mapping(path, SearchError))
            else:
                log.debug("A rehearsal ended with: %s", result.error)
    if not times:
        log.info("The study could not be timed beforehand. Its first trial will tell what the others take.")
    return times


def _said(study: Study, step: float, validation: float, steps: int, validations: int, size: int, workers: int) -> str:
    options = study.options
    trial = steps * step + validations * validation
    total = trial * math.ceil(options.trials / workers)
    again = options.rescore_factor * validation * math.ceil(USUAL_FRONT / workers)
    return (
        f"A step takes {step:.2g} s and a validation {validation:.2g} s, so a trial of {steps} steps and {validations} "
        f"validations takes {trial:.0f} s: about {spoken(total + again)} for {options.trials} trials on {workers} "
        f"workers, {spoken(again)} of it to score the front again, and up to "
        f"{size * validations * options.trials / 2**30:.2f} GiB"
    )
