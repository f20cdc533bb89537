"""Objects as the configs that would make them: a constructor's signature is the configuration."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from memcontrol.errors import ConfigError

__all__ = ["Described", "config_of"]


class Described:
    """Remembers what an object was made with, so that a job elsewhere can make another one."""

    _made_with: dict[str, Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Note the arguments of the class that is made; those of its bases are its own affair."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _noting(cls.__init__)  # type: ignore[method-assign]


def _noting(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        if self._made_with is None:
            try:
                bound = signature.bind(self, *args, **kwargs)
            except TypeError:  # the constructor says what is wrong
                bound = signature.bind_partial()
            given = dict(list(bound.arguments.items())[1:])
            for name, parameter in signature.parameters.items():
                if parameter.kind is parameter.VAR_KEYWORD:
                    given |= given.pop(name, {})
            self._made_with = given
        init(self, *args, **kwargs)

    return noted


def config_of(value: Any) -> Any:
    """Return plain values from which the command line makes an object again.

    Args:
        value: Plain values, a dataclass, a PEFT config, or an object of a class that is `Described`.

    Raises:
        ConfigError: If it was made otherwise.

    Example:
        >>> from memcontrol.data.splits import MemorizationSubset
        >>> config_of(MemorizationSubset(num_images=16))
        {'num_images': 16, 'repeats': 50}
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): config_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [config_of(item) for item in items]
    if isinstance(value, Described):
        return _of_class(value, value._made_with or {})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        if not hasattr(value, "peft_type"):
            return {name: config_of(item) for name, item in fields.items()}
        return _of_class(value, _changed(value, fields))
    raise ConfigError(
        f"An object of the class {type(value).__name__} cannot be written into a config, so it cannot be made again "
        "elsewhere. Use a class of memcontrol, or write a YAML config and run the command line."
    )


def _of_class(value: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    kind = type(value)
    return {
        "class_path": f"{kind.__module__}.{kind.__qualname__}",
        "init_args": {name: config_of(item) for name, item in given.items()},
    }


def _changed(value: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs from the defaults: PEFT fills in fields of its own."""
    default = type(value)()
    return {name: item for name, item in fields.items() if item != getattr(default, name) and name != "peft_type"}
