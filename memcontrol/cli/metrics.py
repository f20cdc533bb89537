"""The numbers that a run has logged before it was cut off: Lightning's CSVLogger would write over them."""

from __future__ import annotations

from collections.abc import Iterable
from csv import DictReader
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger

from memcontrol.files.run_folder import METRICS

__all__ = ["set_metrics_aside", "take_metrics_up"]

ASIDE = "metrics.*.csv"


def set_metrics_aside(run: Path) -> None:
    """Move a run's numbers out of the logger's way, before there is a logger."""
    metrics = run / METRICS
    if metrics.is_file():
        metrics.rename(run / f"metrics.{len(list(run.glob(ASIDE)))}.csv")


def take_metrics_up(run: Path, loggers: Iterable[Logger], step: int) -> None:
    """Give a run's logger what was logged before the checkpoint that the run goes on from.

    What was logged after it is left out, since these steps are made again.

    Args:
        run: The run folder.
        loggers: Loggers of the trainer.
        step: Optimizer steps of the checkpoint.
    """
    parts = sorted(run.glob(ASIDE), key=lambda path: int(path.suffixes[0][1:]))
    rows = [row for part in parts for row in _rows(part) if int(row["step"]) < step]
    for logger in loggers:
        if isinstance(logger, CSVLogger) and Path(logger.log_dir) == run and rows:
            logger.experiment.metrics = list({_key(row): row for row in rows}.values())
            logger.save()
            for part in parts:
                part.unlink()


def _rows(part: Path) -> list[dict[str, str]]:
    with part.open(newline="") as file:
        return [row for row in DictReader(file) if (row.get("step") or "").isdigit()]


def _key(row: dict[str, str]) -> tuple[str, ...]:
    """Return what a row is of: a step's losses and its validation are rows of their own."""
    return (row["step"], *sorted(name for name, value in row.items() if value))
