"""Workers on other machines, by Parsl (an extra): pip install 'memcontrol[parsl]'."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Literal

from memcontrol.errors import SearchError

__all__ = ["ParslWorkers"]


class ParslWorkers(Executor):
    """Runs trials through Parsl's high-throughput executor: this machine, or blocks of a SLURM cluster.

    All machines must see the study's folder and the data under the same paths.

    Args:
        provider: `local` or `slurm`.
        workers_per_node: Trials at once on a node.
        accelerators: GPUs of a node; each worker is pinned to one.
        max_blocks: Most blocks (SLURM jobs, or pools of this machine) at once; blocks come and go with the work.
        nodes_per_block: Nodes of a block.
        partition: SLURM partition.
        account: SLURM account.
        walltime: Time limit of a block, `HH:MM:SS`.
        scheduler_options: Further lines of the SLURM script, e.g. `#SBATCH --gres=gpu:4`.
        worker_init: Shell commands before a worker starts, e.g. `source .venv/bin/activate`.
        address: Address under which workers reach this machine; found by Parsl if null.
        run_dir: Folder for Parsl's own files.
        retries: How often Parsl itself starts a task again whose worker was lost.

    Raises:
        SearchError: If Parsl is not installed.
    """

    def __init__(
        self,
        provider: Literal["local", "slurm"] = "local",
        workers_per_node: int = 1,
        accelerators: int = 0,
        max_blocks: int = 1,
        nodes_per_block: int = 1,
        partition: str | None = None,
        account: str | None = None,
        walltime: str = "24:00:00",
        scheduler_options: str = "",
        worker_init: str = "",
        address: str | None = None,
        run_dir: str = "runs/parsl",
        retries: int = 1,
    ) -> None:
        self.provider = provider
        self.workers_per_node = workers_per_node
        self.accelerators = accelerators
        self.max_blocks = max_blocks
        self.nodes_per_block = nodes_per_block
        self.partition = partition
        self.account = account
        self.walltime = walltime
        self.scheduler_options = scheduler_options
        self.worker_init = worker_init
        self.address = address
        self.run_dir = run_dir
        self.retries = retries
        self._pool: Executor | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on some worker."""
        if self._pool is None:
            self._pool = self._open()
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give the workers back."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait)
            self._pool = None

    def _open(self) -> Executor:
        try:
            from parsl.concurrent import ParslPoolExecutor
            from parsl.config import Config
            from parsl.executors import HighThroughputExecutor
        except ImportError as error:
            raise SearchError("ParslWorkers needs Parsl. Run: pip install 'memcontrol[parsl]'") from error
        options: dict[str, Any] = {"address": self.address} if self.address else {}
        executor = HighThroughputExecutor(
            label="trials",
            max_workers_per_node=self.workers_per_node,
            available_accelerators=self.accelerators,
            provider=self._provider(),
            **options,
        )
        config = Config(executors=[executor], run_dir=self.run_dir, retries=self.retries, strategy="htex_auto_scale")
        pool: Executor = ParslPoolExecutor(config=config)
        return pool

    def _provider(self) -> Any:
        from parsl.providers import LocalProvider, SlurmProvider

        blocks = {"init_blocks": 1, "min_blocks": 0, "max_blocks": self.max_blocks, "worker_init": self.worker_init}
        if self.provider == "local":
            return LocalProvider(**blocks)
        return SlurmProvider(
            partition=self.partition,
            account=self.account,
            nodes_per_block=self.nodes_per_block,
            walltime=self.walltime,
            scheduler_options=self.scheduler_options,
            exclusive=False,
            **blocks,
        )
