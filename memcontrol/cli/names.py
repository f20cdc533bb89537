"""Names of runs, versions and files in a config: what a thing is called in its folder; they lead nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from memcontrol.cli.bounds import leaves
from memcontrol.errors import ConfigError

__all__ = ["refuse_ways_out"]

NAMES: Final = ("filename", "id", "name", "sub_dir", "version")
"""Options of loggers, checkpoints and profilers that are joined to a folder."""


def refuse_ways_out(trainer: Any) -> None:
    """Refuse names that lead out of the folder that they are in.

    Args:
        trainer: The `trainer` section.

    Raises:
        ConfigError: If one is absolute or has `..` in it.
    """
    for option, name in leaves(trainer, "trainer"):
        if option.rpartition(".")[2] not in NAMES or not isinstance(name, str):
            continue
        if Path(name).is_absolute() or ".." in Path(name).parts or name.startswith("~"):
            raise ConfigError(
                f"Argument `{option}` is {name!r}, which leads out of the folder that it is a name in. Give "
                "a plain name, and the folder by `save_dir` or `dirpath`."
            )
