"""Find config files by name, here or among those that come with memcontrol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from memcontrol.errors import MemControlError

__all__ = ["CONFIGS", "find_config", "join_paths", "resolve_names"]

CONFIGS: Final = Path(__file__).parents[1] / "configs"
FLAGS: Final = ("--config", "-c")


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


def resolve_names(args: list[str]) -> list[str]:
    """Replace the names of configs among arguments by their paths."""
    found: list[str] = []
    for i, arg in enumerate(args):
        flag, equals, value = arg.partition("=")
        if equals and flag in FLAGS:
            found.append(f"{flag}={find_config(value)}")
        elif i > 0 and args[i - 1] in FLAGS:
            found.append(find_config(arg))
        else:
            found.append(arg)
    return found


def join_paths(args: list[str]) -> list[str]:
    """Gather the paths after `audit ... --ckpt_path` into one list, so that several can be named one after another."""
    if not args or args[0] != "audit" or "--ckpt_path" not in args:
        return args
    start = args.index("--ckpt_path") + 1
    end = next((i for i in range(start, len(args)) if args[i].startswith("--")), len(args))
    if end - start == 1 and args[start].startswith("["):
        return args
    return [*args[:start], json.dumps(args[start:end]), *args[end:]]
