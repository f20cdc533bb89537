"""Where trials run: worker processes of this machine, each pinned to its devices, and each replaced when it dies."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from memcontrol.errors import SearchError

__all__ = ["LocalWorkers", "local_workers", "num_devices"]


def _devices() -> list[str]:
    """Return the GPUs that this process may use, by the names that CUDA knows them under, without waking them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]


def num_devices() -> int:
    """Return the number of GPUs that this process may use."""
    return len(_devices())


def _begin(devices: str | None) -> None:
    """Pin a worker to its devices, and let it end with its controller."""
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    threading.Thread(target=_end_with_controller, daemon=True).start()


def _end_with_controller() -> None:
    """End when the controller does: its orphans would write into the runs that the next one goes on with."""
    controller = multiprocessing.parent_process()
    if controller is not None:
        controller.join()
        os._exit(1)


class LocalWorkers(Executor):
    """A pool whose workers are pools of one process, so that one that dies takes only its own task with it.

    Args:
        workers: Number of processes.
        devices: `CUDA_VISIBLE_DEVICES` of each process, or None to leave it alone.
    """

    def __init__(self, workers: int, devices: list[str] | None = None) -> None:
        self._devices = devices or [None] * workers  # type: ignore[list-item]
        self._pools: list[ProcessPoolExecutor | None] = [None] * workers
        self._free = list(range(workers))[::-1]
        self._waiting: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        self._lock = threading.RLock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in a free worker, or as soon as one is free."""
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, fn, args, kwargs))
            self._start()
        return future

    def pids(self) -> list[int]:
        """Return the process ids of the workers that live."""
        return [pid for pool in self._pools if pool is not None for pid in (pool._processes or {})]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop the workers."""
        for pool in self._pools:
            if pool is not None:
                pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _start(self) -> None:
        while self._free and self._waiting:
            worker = self._free.pop()
            future, fn, args, kwargs = self._waiting.pop(0)
            try:
                inner = self._pool(worker).submit(fn, *args, **kwargs)
            except BrokenProcessPool:  # it died while it had nothing to do
                self._pools[worker] = None
                inner = self._pool(worker).submit(fn, *args, **kwargs)
            inner.add_done_callback(lambda done, w=worker, f=future: self._done(w, f, done))  # type: ignore[misc]

    def _pool(self, worker: int) -> ProcessPoolExecutor:
        pool = self._pools[worker]
        if pool is None:
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(self._devices[worker],))
            self._pools[worker] = pool
        return pool

    def _done(self, worker: int, future: Future[Any], inner: Future[Any]) -> None:
        error = inner.exception()
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(inner.result())
        with self._lock:
            if isinstance(error, BrokenProcessPool):
                self._pools[worker] = None
            self._free.append(worker)
            self._start()


def local_workers(workers: int, per_worker: int = 1) -> LocalWorkers:
    """Return workers of this machine, each pinned to its GPUs; where there are too few, workers share them evenly.

    Args:
        workers: Number of processes.
        per_worker: GPUs of each.

    Raises:
        SearchError: If there are fewer GPUs than one worker needs.
    """
    devices = _devices()
    if not devices:
        return LocalWorkers(workers)
    if len(devices) < per_worker:
        raise SearchError(
            f"Argument `search.devices_per_trial` is {per_worker}, but this process may use {len(devices)} GPUs."
        )
    groups = len(devices) // per_worker
    starts = [per_worker * (worker % groups) for worker in range(workers)]
    return LocalWorkers(workers, [",".join(devices[start : start + per_worker]) for start in starts])
