"""Workers on other machines, by Parsl (an extra)."""

from __future__ import annotations

import logging
import os
import sysconfig
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from memcontrol.errors import SearchError

try:
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors.base import ParslExecutor
except ImportError as error:
    raise SearchError("ParslWorkers needs Parsl. Run: pip install 'memcontrol[parsl]'") from error

__all__ = ["ParslWorkers"]


class ParslWorkers(Executor):
    """Runs trials through one of Parsl's executors: on this machine, a SLURM cluster, Kubernetes.

    All machines must see the study's folder and the data under the same paths. A worker that is lost costs its trial
    one of the study's retries (`search.retries`), so Parsl itself starts nothing again.

    Args:
        executor: Parsl's own, with its provider, e.g. `parsl.executors.HighThroughputExecutor` with
            `max_workers_per_node`, `available_accelerators` (a GPU for each worker) and a `provider`. Providers run
            shell commands, so a config that names them needs `--trust-config`.
        strategy: Parsl's scaling between `min_blocks` and `max_blocks` of the provider; `none` keeps `init_blocks`.
        run_dir: Folder for Parsl's own files.

    Raises:
        SearchError: If Parsl is not installed.
    """

    def __init__(self, executor: ParslExecutor, strategy: str = "htex_auto_scale", run_dir: str = "runs/parsl") -> None:
        self.executor = executor
        self.strategy = strategy
        self.run_dir = run_dir
        self._pool: Executor | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on some worker."""
        if self._pool is None:
            _put_scripts_on_path()
            logging.getLogger("parsl").propagate = False  # its own log lies in `run_dir`
            config = Config(executors=[self.executor], strategy=self.strategy, run_dir=self.run_dir, retries=0)
            self._pool = ParslPoolExecutor(config=config)
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give the workers back."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait)
            self._pool = None


def _put_scripts_on_path() -> None:
    """Let Parsl find its own scripts in an environment that was not activated."""
    scripts = sysconfig.get_path("scripts")
    if scripts not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = scripts + os.pathsep + os.environ["PATH"]
