"""One loop for whoever has jobs: submit them, start again what died or ran out of memory, hand over what has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from memcontrol.files.run_folder import CHECKPOINTS
from memcontrol.jobs.job import Job, JobResult
from memcontrol.jobs.run import run_job

__all__ = ["Done", "JobLoop", "result_of"]

K = TypeVar("K")

log = logging.getLogger("memcontrol")


@dataclass(frozen=True)
class Done(Generic[K]):
    """A job that has ended for good.

    Args:
        key: What the submitter calls it.
        result: What its function returned, or None.
        error: What it or its worker ended with, or None.
        attempts: How often it was started.
    """

    key: K
    result: Any
    error: BaseException | None
    attempts: int

    @property
    def has_died(self) -> bool:
        """Whether its worker died."""
        return self.error is not None and not isinstance(self.error, OSError)


@dataclass(frozen=True)
class _Running(Generic[K]):
    key: K
    spec: Any
    attempts: int = 1
    fruitless: int = 0
    checkpoints: frozenset[tuple[str, int]] = frozenset()
    halved: int = 0


class JobLoop(Generic[K]):
    """Runs jobs in an executor.

    Args:
        executor: Runs them.
        retries: How often in a row a job is started again after its worker died without a new checkpoint; one that
            got further (a block of a cluster ends, the job does not) is started again whatever this says.
        function: What is run with each job; `run_job` for runs of `fit`.
        label: What a job is called in messages.
    """

    def __init__(
        self,
        executor: Executor,
        retries: int = 1,
        function: Callable[[Any], Any] | None = None,
        label: str = "run",
    ) -> None:
        self.executor = executor
        self.retries = retries
        self.function = function
        self.label = label
        self._running: dict[Future[Any], _Running[K]] = {}

    def submit(self, key: K, spec: Any) -> None:
        """Start a job.

        Args:
            key: What it is called when it has ended.
            spec: The job.
        """
        self._start(_Running(key, spec))

    @property
    def keys(self) -> list[K]:
        """What is running."""
        return [running.key for running in self._running.values()]

    def wait(self, timeout: float | None = None) -> list[Done[K]]:
        """Wait until something has ended; returns what has ended for good, which may be nothing.

        Args:
            timeout: Longest wait, in seconds.
        """
        done, _ = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED)
        order = {future: number for number, future in enumerate(self._running)}
        ended = [self._ended(future) for future in sorted(done, key=lambda future: order[future])]
        return [found for found in ended if found is not None]

    def _start(self, running: _Running[K]) -> None:
        function = self.function or run_job  # looked up here, so that tests can stand in for it
        running = replace(running, checkpoints=_checkpoints(running.spec))
        self._running[self.executor.submit(function, running.spec)] = running

    def _ended(self, future: Future[Any]) -> Done[K] | None:
        running = self._running.pop(future)
        error = future.exception()
        progressed = bool(_checkpoints(running.spec) - running.checkpoints)
        fruitless = 0 if progressed else running.fruitless + 1
        if error is not None and fruitless <= self.retries:
            log.warning(
                "The worker of %s %s died (%s); it is started again", self.label, running.key, type(error).__name__
            )
            self._start(replace(running, attempts=running.attempts + 1, fruitless=fruitless))
            return None
        result = None if error is not None else future.result()
        if isinstance(result, JobResult) and result.out_of_memory and running.halved < 1:
            assert isinstance(running.spec, Job)
            log.warning("%s %s ran out of memory; it is started again at half the batch", self.label, running.key)
            halved = running.halved + 1
            self._start(replace(running, spec=replace(running.spec, halved=halved), halved=halved))
            return None
        return Done(running.key, result, error, running.attempts + running.halved)


def _checkpoints(spec: Any) -> frozenset[tuple[str, int]]:
    """Return name and time of each checkpoint of a run."""
    found = (Path(spec.folder) / CHECKPOINTS).glob("*.ckpt") if isinstance(spec, Job) else ()
    return frozenset((path.name, path.stat().st_mtime_ns) for path in found)


def result_of(done: Done[Any]) -> JobResult:
    """Return what a run of `fit` has reported; a worker's death is an error."""
    if done.error is not None:
        return JobResult(f"{type(done.error).__name__}: {done.error}")
    found: JobResult = done.result
    return found
