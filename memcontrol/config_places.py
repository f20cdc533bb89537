"""Where the values of a config go at its top: to the trainer, the model, the data, or an option of a command."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Union

from lightning.pytorch import Trainer

from memcontrol.compare.options import CompareOptions
from memcontrol.search.options import SearchOptions
from memcontrol.trainer import MemControlTrainer

__all__ = ["UNKNOWN", "Named", "Root", "command_options", "named_nodes", "subclasses_named"]

UNKNOWN: Final = object()
COMMANDS: Final = (
    "fit", "validate", "test", "predict", "slots", "export", "audit", "plant", "steps", "search", "compare",
)  # fmt: skip


@dataclass(frozen=True)
class Named:
    """The place of an object whose class is named somewhere in the files and options of a command line.

    Args:
        base: Class that it must be of.
        classes: Every class that is named for it; empty if one of them is not known.
    """

    base: type
    classes: tuple[type, ...] = ()


@dataclass(frozen=True)
class Root:
    """The top of a config, or what lies under the name of a command.

    Args:
        named: Places of the model and the data.
        options: Types of the commands' options.
    """

    named: dict[str, Named]
    options: dict[str, Any]

    def child(self, key: str) -> Any:
        """Return the place of a key: a root again, a `Named`, or a type, or UNKNOWN."""
        if key in COMMANDS:
            return self
        return Trainer if key == "trainer" else self.named.get(key, self.options.get(key, UNKNOWN))


def command_options() -> dict[str, Any]:
    """Return the types that each option has in the commands that take it; options of a search lie at their top."""
    found: dict[str, list[Any]] = {}
    for command in COMMANDS:
        method = getattr(MemControlTrainer, command)
        hints = typing.get_type_hints(method)
        for name in inspect.signature(method).parameters:
            found.setdefault(name, []).append(hints.get(name, UNKNOWN))
    for holder in (SearchOptions, CompareOptions):
        hints = typing.get_type_hints(holder)
        for field in dataclasses.fields(holder):
            found.setdefault(field.name, []).append(hints[field.name])
    known = {name: types for name, types in found.items() if UNKNOWN not in types}
    return {name: Union[tuple(types)] for name, types in known.items()}  # noqa: UP007 - built at run time


def named_nodes(trees: Iterable[Any], key: str) -> Iterator[Any]:
    """Yield what stands at a key, or at a beginning of it, in each tree: at its top and under commands."""
    for tree in trees:
        if isinstance(tree, dict):
            for part in (tree, *map(tree.get, COMMANDS)):
                if isinstance(part, dict):
                    yield from (value for found, value in part.items() if found and key.startswith(str(found)))


def subclasses_named(base: type, name: str) -> set[type]:
    """Return the imported classes that a short name may mean."""
    found: set[type] = {base} if base.__name__ == name else set()
    children: list[type] = base.__subclasses__()
    return found.union(*(subclasses_named(child, name) for child in children))
