"""Config files by name, here or among those that come with memcontrol, and a config as the command line resolved it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from memcontrol.errors import MemControlError

__all__ = ["CONFIGS", "ResolvedConfig", "find_config"]

_PACKAGED: Final = Path(__file__).parents[1] / "configs"
CONFIGS: Final = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "configs"
"""Those that come with memcontrol: inside an installed package, beside it in a checkout."""
RUN_KEYS: Final = ("extensions", "seed_everything", "model", "data", "trainer")
"""What of a config a run of `fit` is made with."""


@dataclass(frozen=True)
class ResolvedConfig:
    """A config as the command line resolved it.

    Args:
        values: All values, as plain values.
        changes: Those that differ from the defaults.
    """

    values: dict[str, Any]
    changes: dict[str, Any]

    @property
    def run(self) -> dict[str, Any]:
        """What a run of `fit` is made with."""
        return {key: self.values[key] for key in RUN_KEYS if key in self.values}

    @property
    def run_changes(self) -> dict[str, Any]:
        """What of that differs from the defaults: a new option leaves it as it was."""
        return {key: self.changes[key] for key in RUN_KEYS if key in self.changes}


def find_config(name: str) -> str:
    """Return the path of a config: as given, or else in `configs/`.

    Raises:
        MemControlError: If it is in neither place.
    """
    if not name.endswith((".yaml", ".yml", ".json")) or Path(name).is_file():
        return name
    if (CONFIGS / name).is_file():
        return str(CONFIGS / name)
    known = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml"))
    raise MemControlError(
        f"Argument `--config` is {name!r}, which is neither a file here nor one of the configs that come with "
        f"memcontrol: {', '.join(known)}."
    )
