"""Arguments as users type them: names of configs, several paths one after another, trust, and extensions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import yaml

from memcontrol.cli.reading import renewed
from memcontrol.files.configs import find_config

__all__ = ["TRUST", "configs_of", "extensions_of", "join_paths", "resolve_names"]

FLAGS: Final = ("--config", "-c")
PATHS: Final = "--ckpt_path"
EXTENSIONS: Final = "--extensions"
FIRST: Final = {"init": "--folder", "study": "--folder", "withdraw": "--patient"}
"""Commands that are given something before their options, and the option that it is."""
TRUST: Final = "--trust-config"
"""The switch that trusts a config; it counts on the command line only."""


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
            found.append(f"{flag}={renewed(value)}" if equals else renewed(arg))
    return found


def join_paths(args: list[str]) -> list[str]:
    """Gather the paths of `audit ... --ckpt_path A B`, or `--ckpt_path=A`, into one list; name what comes first."""
    if args and args[0] in FIRST and len(args) > 1 and not args[1].startswith("-"):
        return [args[0], f"{FIRST[args[0]]}={args[1]}", *args[2:]]
    if not args or args[0] != "audit":
        return args
    parts = [part for arg in args for part in (arg.split("=", 1) if arg.startswith(f"{PATHS}=") else [arg])]
    if PATHS not in parts:
        return args
    start = parts.index(PATHS) + 1
    end = next((i for i in range(start, len(parts)) if parts[i].startswith("--")), len(parts))
    if end - start == 1 and parts[start].startswith("["):
        return parts
    return [*parts[:start], json.dumps(parts[start:end]), *parts[end:]]


def configs_of(args: Sequence[str]) -> list[str]:
    """Return the files that `--config` names among arguments."""
    pairs = zip(["", *args], args, strict=False)
    return [arg.partition("=")[2] or arg for before, arg in pairs if before in FLAGS or arg.startswith("--config=")]


def extensions_of(args: list[str]) -> list[str]:
    """Return what `--extensions` names among arguments: it is loaded before anything is parsed that may name it."""
    found: list[str] = []
    for i, arg in enumerate(args):
        flag, equals, value = arg.partition("=")
        if flag == EXTENSIONS:
            names = yaml.safe_load(value if equals else (args[i + 1] if i + 1 < len(args) else ""))
            found += names if isinstance(names, list) else [str(names)]
    return found
