"""How the parser reads: its own loader, which renews class paths and loads extensions as it meets them.

Files, nested files and the text of options all go through it, so there is no other reading of a config.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

import memcontrol.callbacks
from memcontrol.cli.extensions import load_extensions
from memcontrol.files.moved import DOOR, new_name

__all__ = ["reading", "renewed"]

_trusts: ContextVar[bool] = ContextVar("trusts", default=False)


def renewed(value: Any) -> Any:
    """Return a parsed value with class paths of ours as they are now, at any depth.

    `callbacks.NAME` stands for `memcontrol.callbacks.NAME`, whatever else is called `callbacks` where the user is; a
    name that is none of ours is the user's own.
    """
    if isinstance(value, dict):
        return {key: renewed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [renewed(item) for item in value]
    if not isinstance(value, str):
        return value
    name = value.removeprefix(DOOR[0])
    if name != value and name in memcontrol.callbacks.__all__:
        return f"{DOOR[1]}{name}"
    return new_name(value)


@contextmanager
def reading(trusts: bool) -> Iterator[None]:
    """Read configs in this way inside the block.

    Args:
        trusts: Whether `--trust-config` stood on the command line.
    """
    loader, token = get_loader("yaml"), _trusts.set(trusts)

    def load(text: str) -> Any:
        value = renewed(loader(text))
        if isinstance(value, dict) and isinstance(value.get("extensions"), list):
            load_extensions(value["extensions"], _trusts.get())
        return value

    set_loader("yaml", load, exceptions=(yaml.YAMLError,))
    try:
        yield
    finally:
        set_loader("yaml", loader, exceptions=(yaml.YAMLError,))
        _trusts.reset(token)
