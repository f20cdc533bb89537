"""Workers on other machines, by Parsl (an extra)."""

from __future__ import annotations

import logging
import os
import shlex
import sysconfig
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from memcontrol.errors import SearchError
from memcontrol.jobs.slurm import SlurmWorkers

try:
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.executors.base import ParslExecutor
    from parsl.launchers import SrunLauncher
    from parsl.providers import SlurmProvider
except ImportError as error:
    raise SearchError("ParslWorkers needs Parsl. Run: pip install 'memcontrol[parsl]'") from error

__all__ = ["ParslWorkers", "slurm_workers"]


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


def slurm_workers(options: SlurmWorkers) -> ParslWorkers:
    """Return workers that are SLURM jobs, in the environment that this process runs in."""
    gpus = options.gpus_per_trial * options.trials_per_job
    wanted = {"nodes": 1, "cpus-per-task": options.cpus_per_trial * options.trials_per_job}
    environment = f"export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH"
    provider = SlurmProvider(
        partition=options.partition,
        account=options.account,
        qos=options.qos,
        constraint=options.constraint,
        walltime=options.time,
        gpus_per_node=gpus or None,
        scheduler_options="\n".join(f"#SBATCH --{name}={value}" for name, value in wanted.items()),
        worker_init="\n".join([*options.setup, environment]),
        init_blocks=0,
        min_blocks=0,
        max_blocks=options.jobs,
        exclusive=False,
        launcher=SrunLauncher(),
    )
    executor = HighThroughputExecutor(
        max_workers_per_node=options.trials_per_job,
        available_accelerators=_accelerators(options.gpus_per_trial, options.trials_per_job),
        provider=provider,
    )
    return ParslWorkers(executor, run_dir=options.run_dir)


def _accelerators(each: int, workers: int) -> list[str]:
    """Return what each worker sees of a node's GPUs, as `CUDA_VISIBLE_DEVICES`."""
    return [",".join(str(each * worker + i) for i in range(each)) for worker in range(workers)] if each else []


def _put_scripts_on_path() -> None:
    """Let Parsl find its own scripts in an environment that was not activated."""
    scripts = sysconfig.get_path("scripts")
    if scripts not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = scripts + os.pathsep + os.environ["PATH"]
