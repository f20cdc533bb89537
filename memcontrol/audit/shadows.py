"""Shadow models: trained as the audited run was, each on a random half of its patients and as many held-out ones.

Each of these is trained on by exactly half of them. They stay in the audit's folder, so that an interrupted audit goes
on where it was.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from tqdm import tqdm

from memcontrol.errors import CheckpointError
from memcontrol.files.atomic import write_text
from memcontrol.files.card import Card
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.configs import RUN_KEYS, ResolvedConfig
from memcontrol.files.run_folder import CONFIG, LOG
from memcontrol.jobs.job import Job
from memcontrol.jobs.loop import JobLoop, result_of
from memcontrol.jobs.workers import local_workers, num_devices
from memcontrol.plain import read_mapping
from memcontrol.ranges import check_ranges

__all__ = ["ShadowOptions", "ShadowTraining"]

OF_THE_RUN: Final = ("batch_size", "transform", "captions", "identifiers")
"""Options of data that belong to how a run was trained, and not to which data it was trained on."""

log = logging.getLogger("memcontrol")


@dataclass(frozen=True)
class ShadowOptions:
    """Shadow models of an audit, each of which takes as long as the run took.

    Args:
        number: How many there are (0: none, and no attack with them); an even number. With 4 the attack is little
            stronger than the calibrated loss, with 16 most of what it can be.
        workers: How many are trained at once; by default one on each GPU, or one without.
        threads: CPU threads of each; by default what this process may use, shared out among them.

    Raises:
        CheckpointError: If a number is out of range.
    """

    number: int = 0
    workers: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        ranges = {"number": "[0, 256]", "workers": "[1, 256]", "threads": "[1, 1024]"}
        check_ranges(CheckpointError, "shadows", self, ranges)
        if self.number % 2:
            raise CheckpointError(
                f"Argument `shadows.number` must be even, so that each patient is trained on by half of them, but got "
                f"{self.number}."
            )


@dataclass(frozen=True)
class ShadowTraining:
    """Trains shadow models of a run.

    Args:
        options: How many, and how.
        data: The audit's config of data, as plain values.
        entry: What runs `fit`, as `module:function`.
        trust: Whether the run's config is trusted to import code.
    """

    options: ShadowOptions
    data: dict[str, Any]
    entry: str
    trust: bool = False

    @classmethod
    def of(cls, options: ShadowOptions, config: ResolvedConfig, entry: str, trust: bool) -> ShadowTraining:
        """Return it for the config of an audit."""
        return cls(options, config.values["data"], entry, trust)

    def train(self, run: Path, card: Card, folder: Path) -> list[Path]:
        """Train what is not trained yet.

        Args:
            run: Folder of the run.
            card: What its audited checkpoint says of itself.
            folder: Where the shadow models' runs go.

        Returns:
            Their checkpoints.

        Raises:
            CheckpointError: If some training failed.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(folder / CONFIG, yaml.safe_dump(self._config(run, card), sort_keys=False))
        workers = self.options.workers or max(1, num_devices())
        executor = local_workers(workers)
        jobs: JobLoop[int] = JobLoop(executor, label="shadow model")
        missing = [k for k in range(self.options.number) if not _is_trained(folder / _name(k), card.step)]
        failed = {}
        try:
            for k in missing:
                jobs.submit(k, self._job(k, folder, card, workers))
            number = self.options.number
            with tqdm(total=number, initial=number - len(missing), desc="shadow models", unit="run") as bar:
                while jobs.keys:
                    for ended in jobs.wait():
                        bar.update()
                        error = result_of(ended).error
                        if error is not None:
                            failed[_name(ended.key)] = error
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        if failed:
            raise CheckpointError(
                f"{len(failed)} shadow models could not be trained: {failed}. The logs are {folder}/*/{LOG}. Mend it, "
                "and run the same command again: what is done is kept. Or leave them out with "
                "`--options.shadows.number=0`."
            )
        return [find_checkpoint(folder / _name(k)) for k in range(self.options.number)]

    def check(self, run: Path) -> None:
        """See that shadow models of a run can be trained, before anything else is.

        Raises:
            CheckpointError: If the run's config is gone.
        """
        if not (run / CONFIG).is_file():
            raise CheckpointError(
                f"{run} has no {CONFIG}, which says how it was trained, so no shadow models can be. Name the run's "
                "folder, or leave them out with `--options.shadows.number=0`."
            )

    def _config(self, run: Path, card: Card) -> dict[str, Any]:
        found = read_mapping(run / CONFIG, CheckpointError)
        config: dict[str, Any] = {key: found[key] for key in RUN_KEYS if key in found}
        trained_on = (config.get("data") or {}).get("init_args") or {}
        data = {**self.data, "init_args": {**self.data.get("init_args", {})}}
        data["init_args"] |= {name: trained_on[name] for name in OF_THE_RUN if name in trained_on}
        data["init_args"] |= {"memorization": {"num_images": 0}}
        trainer = {**(config.get("trainer") or {})}
        devices = trainer.get("devices")
        if isinstance(devices, int) and devices > 1:  # each is trained on one device
            trainer["accumulate_grad_batches"] = devices * (trainer.get("accumulate_grad_batches") or 1)
            trainer["strategy"] = "auto"
        trainer |= {"callbacks": [], "max_steps": card.step, "limit_val_batches": 0, "num_nodes": 1}
        return {**config, "data": data, "trainer": trainer}

    def _job(self, number: int, folder: Path, card: Card, workers: int) -> Job:
        checkpoint = {"class_path": "memcontrol.callbacks.AdapterCheckpoint",
                      "init_args": {"every_n_train_steps": card.step}}  # fmt: skip
        return Job(
            folder=str(folder / _name(number)),
            entry=self.entry,
            config=str(folder / CONFIG),
            overlay={"data": {"init_args": {"coin_flips": number}}},
            seed=card.seed + 1 + number,
            callbacks=(checkpoint,),
            threads=self.options.threads or max(1, len(os.sched_getaffinity(0)) // workers),
            trust=self.trust,
        )


def _name(number: int) -> str:
    return f"shadow-{number:03d}"


def _is_trained(folder: Path, step: int) -> bool:
    try:
        return read_checkpoint(find_checkpoint(folder))[0].step == step
    except CheckpointError:
        return False
