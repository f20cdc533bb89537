"""Workers that are SLURM jobs, described by plain options: a config names no class of Parsl's and no shell command."""

from __future__ import annotations

import re
import shlex
import sysconfig
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final

from memcontrol.errors import SearchError
from memcontrol.jobs.interchange import launch_command
from memcontrol.trusted import is_trusted

__all__ = ["SlurmWorkers"]

NAME: Final = re.compile(r"[\w.,:@+-]{1,128}")
TIME: Final = re.compile(r"(\d{1,3}-)?\d{1,3}(:\d{2}){1,2}")
HEARTBEAT_S: Final = 15
"""Seconds between signs of life of a job and its controller."""
SETUP: Final = re.compile(
    r"module purge|module load [\w./+-]+|conda activate [\w.-]+"
    r"|export (OMP_NUM_THREADS|MKL_NUM_THREADS|NCCL_\w+|WANDB_MODE|HF_HUB_OFFLINE)=[\w./:,-]*"
)
"""Lines of set-up that run nothing but what the cluster's owner has installed."""


class SlurmWorkers(Executor):
    """Runs trials as SLURM jobs, by Parsl: each job holds a node's share of GPUs, and a worker for each trial on it.

    Workers use the environment that the search itself runs in, which must be under the same path on all nodes, as must
    the study's folder and the data.

    Args:
        partition: SLURM partition.
        time: Time limit of a job, `HH:MM:SS` or `D-HH:MM:SS`.
        gpus_per_trial: GPUs of each trial.
        trials_per_job: Trials at once in a job, on one node.
        jobs: Jobs at once, at most.
        cpus_per_trial: CPU cores of each trial.
        account: Account that is charged.
        qos: Quality of service.
        constraint: Feature that nodes must have.
        setup: Lines that are run first in each job: `module load NAME`, `module purge`, `conda activate NAME`, and
            `export` of OMP_NUM_THREADS, MKL_NUM_THREADS, NCCL_*, WANDB_MODE and HF_HUB_OFFLINE. Others could run
            anything, and need `--trust-config`.
        run_dir: Folder for Parsl's own files.

    Raises:
        SearchError: If an option is none that SLURM could have, a line of set-up is not trusted, or Parsl is missing.
    """

    def __init__(
        self,
        partition: str | None = None,
        time: str = "12:00:00",
        gpus_per_trial: int = 1,
        trials_per_job: int = 1,
        jobs: int = 1,
        cpus_per_trial: int = 8,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        setup: list[str] | None = None,
        run_dir: str = "runs/parsl",
    ) -> None:
        for name, value in (("partition", partition), ("account", account), ("qos", qos), ("constraint", constraint)):
            if value is not None and not NAME.fullmatch(value):
                raise SearchError(f"Argument `{name}` is {value!r}, which is no name that SLURM gives.")
        if not TIME.fullmatch(time):
            raise SearchError(f"Argument `time` is {time!r}. Give HH:MM:SS or D-HH:MM:SS.")
        if min(trials_per_job, jobs, cpus_per_trial) < 1 or gpus_per_trial < 0:
            raise SearchError(
                "Arguments `trials_per_job`, `jobs` and `cpus_per_trial` must be at least 1 and `gpus_per_trial` "
                f"at least 0, but got {trials_per_job}, {jobs}, {cpus_per_trial} and {gpus_per_trial}."
            )
        refused = [line for line in setup or () if not SETUP.fullmatch(line)]
        if refused and not is_trusted():
            raise SearchError(
                f"Argument `setup` has the line {refused[0]!r}, which could run anything on the nodes. Give `module "
                "load`, `module purge`, `conda activate` or an `export` that is listed in the documentation, or add "
                "`--trust-config` if you wrote the config yourself."
            )
        self.partition = partition
        self.time = time
        self.gpus_per_trial = gpus_per_trial
        self.trials_per_job = trials_per_job
        self.jobs = jobs
        self.cpus_per_trial = cpus_per_trial
        self.account = account
        self.qos = qos
        self.constraint = constraint
        self.setup = list(setup or ())
        self.run_dir = run_dir
        self._workers: Executor | None = None

    def make(self) -> Executor:
        """Return the workers, in the environment that this process runs in; Parsl, an extra, is imported here.

        Raises:
            SearchError: If Parsl is not installed.
        """
        from memcontrol.jobs.parsl import ParslWorkers  # first, as it says how Parsl is installed

        # isort: split
        from parsl.executors import HighThroughputExecutor
        from parsl.launchers import SrunLauncher
        from parsl.providers import SlurmProvider

        each, count = self.gpus_per_trial, self.trials_per_job
        wanted = {"nodes": 1, "cpus-per-task": self.cpus_per_trial * count}
        provider = SlurmProvider(
            partition=self.partition,
            account=self.account,
            qos=self.qos,
            constraint=self.constraint,
            walltime=self.time,
            gpus_per_node=each * count or None,
            scheduler_options="\n".join(f"#SBATCH --{name}={value}" for name, value in wanted.items()),
            worker_init="\n".join([*self.setup, f"export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH"]),
            init_blocks=0,
            min_blocks=0,
            max_blocks=self.jobs,
            exclusive=False,
            launcher=SrunLauncher(overrides=f"--cpus-per-task={self.cpus_per_trial * count}"),
        )
        gpus = [",".join(str(each * worker + i) for i in range(each)) for worker in range(count)] if each else []
        executor = HighThroughputExecutor(
            max_workers_per_node=count,
            available_accelerators=gpus,
            provider=provider,
            interchange_launch_cmd=launch_command(),
            heartbeat_period=HEARTBEAT_S,
            heartbeat_threshold=4 * HEARTBEAT_S,  # a job whose controller is gone ends by itself, and holds no GPU
        )
        return ParslWorkers(executor, run_dir=self.run_dir)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in some job."""
        if self._workers is None:
            self._workers = self.make()
        return self._workers.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give the jobs back."""
        if self._workers is not None:
            self._workers.shutdown(wait=wait, cancel_futures=cancel_futures)
            self._workers = None
