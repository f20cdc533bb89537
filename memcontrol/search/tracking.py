"""A study in Weights & Biases: a run per trial, and one with the front; numbers and masks only, offline by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import wandb

from memcontrol.loggers import PrivateWandbLogger, numbers_only
from memcontrol.search.front import FrontPoint
from memcontrol.search.records import TrialRecord
from memcontrol.search.results import front_table
from memcontrol.search.study import Study

__all__ = ["log_front", "trial_logger"]


def trial_logger(study: Study, number: int) -> dict[str, Any] | None:
    """Return the config of a trial's logger, or None where the study is not tracked."""
    if study.options.wandb is None:
        return None
    init_args = {
        "project": study.options.wandb,
        "name": f"trial-{number:04d}",
        "group": study.digest,
        "save_dir": str(study.folder),
        "offline": study.options.wandb_offline,
    }
    return {"class_path": "memcontrol.loggers.PrivateWandbLogger", "init_args": init_args}


def log_front(study: Study, points: Sequence[FrontPoint], records: Sequence[TrialRecord]) -> None:
    """Log the front as a table and as a plot, in a run of its own."""
    if study.options.wandb is None or not points:
        return
    logger = PrivateWandbLogger(
        project=study.options.wandb,
        name="front",
        group=study.digest,
        save_dir=str(study.folder),
        offline=study.options.wandb_offline,
    )
    table_rows = front_table(study, points, records).to_dict("records")
    rows = [numbers_only({str(key): value for key, value in row.items()}) for row in table_rows]
    columns = sorted({key for row in rows for key in row})
    table = wandb.Table(columns=columns, data=[[row.get(column) for column in columns] for row in rows])
    x, y = study.options.objectives[0], study.options.objectives[-1]
    logger.experiment.log({"front": table, "front_plot": wandb.plot.scatter(table, x, y, title="front")})
    logger.experiment.finish()
