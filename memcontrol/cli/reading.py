"""How the parser reads: its own loader, which renews class paths and loads extensions as it meets them.

Files, nested files and the text of options all go through it, so there is no other reading of a config. What it has
read is measured before anything walks through it, and may name no address unless it is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import yaml
from jsonargparse import get_loader, set_loader

import memcontrol.callbacks
from memcontrol.cli.extensions import load_extensions
from memcontrol.errors import ConfigError, UntrustedConfigError
from memcontrol.files.moved import DOOR, new_name

__all__ = ["reading", "renewed"]

MAX_VALUES: Final = 2000  # those that aliases repeat counted each time; the longest config of ours has 300
ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*(?:://|::)", re.I)

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


def _measure(value: Any, sizes: dict[int, int]) -> int:
    """Return how many values there are, and refuse too many, those that hold themselves, and addresses."""
    if isinstance(value, str) and not _trusts.get() and ADDRESS.match(value):
        raise UntrustedConfigError(
            f"The config names the address {value!r}. What is trained on private data stays on this machine: give a "
            "path of it, or add `--trust-config` if you wrote the config yourself."
        )
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in sizes:
        sizes[id(value)] = MAX_VALUES  # until it is known: one that holds itself is too large
        items = [*value, *value.values()] if isinstance(value, dict) else value
        sizes[id(value)] = 1 + sum(_measure(item, sizes) for item in items)
    if sizes[id(value)] >= MAX_VALUES:
        raise ConfigError(
            f"The config holds more than {MAX_VALUES} values, or a value that holds itself. Write its lists out, "
            "without aliases that repeat each other."
        )
    return sizes[id(value)]


def _refuse_what_is_there_twice(root: yaml.Node | None) -> None:
    """Refuse names that a mapping holds twice: the parser would take the last and say nothing."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"The config says {twice} twice in one place. Put both together, or remove one.")
        waiting += [value for _, value in node.value]


@contextmanager
def reading(trusts: bool) -> Iterator[None]:
    """Read configs in this way inside the block.

    Args:
        trusts: Whether `--trust-config` stood on the command line.
    """
    loader, token = get_loader("yaml"), _trusts.set(trusts)

    def load(text: str) -> Any:
        try:
            value = loader(text)
            _refuse_what_is_there_twice(yaml.compose(text, Loader=yaml.CSafeLoader))
            _measure(value, {})
        except ValueError as error:  # a number of 5000 digits
            raise yaml.YAMLError(str(error)) from error
        except RecursionError as error:
            raise ConfigError("The config has more lists or mappings in each other than can be read.") from error
        value = renewed(value)
        if isinstance(value, dict):
            if "config" in value:
                raise ConfigError("A config names no other one. Give several: `--config a.yaml --config b.yaml`.")
            load_extensions(value.get("extensions"), _trusts.get())
        return value

    set_loader("yaml", load, exceptions=(yaml.YAMLError,))
    try:
        yield
    finally:
        set_loader("yaml", loader, exceptions=(yaml.YAMLError,))
        _trusts.reset(token)
