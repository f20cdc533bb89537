"""What a worker needs to know of a run, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Job", "JobResult", "overlay_of", "put"]

Value = int | float | str


@dataclass(frozen=True)
class Job:
    """A run of `fit`.

    Args:
        folder: Run folder.
        entry: What runs it, as `module:function`; it takes a list of arguments.
        config: Config file.
        overlay: What is laid over the config, as plain values.
        seed: Seed of the run.
        overlays: Config files that are laid over the config first.
        callbacks: Configs of callbacks that are added.
        logger: Config of a logger beside the run folder's csv, or None.
        devices: Devices of the run.
        threads: CPU threads, or None to leave them alone.
        trust: Whether the config is trusted to import code.
        halved: How often the batch was halved after running out of memory.
    """

    folder: str
    entry: str
    config: str
    overlay: Mapping[str, Any]
    seed: int
    overlays: tuple[str, ...] = ()
    callbacks: tuple[Mapping[str, Any], ...] = ()
    logger: Mapping[str, Any] | None = None
    devices: int = 1
    threads: int | None = None
    trust: bool = False
    halved: int = 0


@dataclass(frozen=True)
class JobResult:
    """What a worker reports.

    Args:
        error: Class and text of the error, which may name paths and ids, or None.
        out_of_memory: Whether memory ran out, which half a batch may mend.
        pruned: Whether the run was stopped early.
        seconds: Time spent, by what it was spent on.
    """

    error: str | None = None
    out_of_memory: bool = False
    pruned: bool = False
    seconds: dict[str, float] = field(default_factory=dict)


def overlay_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config overlay of settings by their dotted key.

    Example:
        >>> overlay_of({"model.optimizer.lr": 0.1})
        {'model': {'optimizer': {'lr': 0.1}}}
    """
    tree: dict[str, Any] = {}
    for key, value in values.items():
        put(tree, key, value)
    return tree


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Enter a value at a dotted key."""
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value
