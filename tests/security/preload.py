"""What the process that cases are forked from has imported: all that a command would."""

import importlib
import logging

for name in ("nevergrad", "pandas.io.parsers", "scipy.stats", "torchvision.transforms.v2", "wandb", "tensorboard"):
    importlib.import_module(name)

from memcontrol.cli.commands import export, plant, predict, slots, steps  # noqa: E402, F401
from memcontrol.cli.main import build  # noqa: E402

logging.getLogger().handlers.clear()
build(["--config", "demo.yaml", "--trainer.logger=false"])
