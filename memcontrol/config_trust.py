"""Check what a config names before anything of it is turned into objects.

jsonargparse imports whatever a `class_path` names, and whatever text stands where a callable may. So the raw
tree (files, files named in files, and the command line) is walked first, beside the types of the places that
its values go to, and every name must lie in a trusted package and fit its place.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Union

import yaml
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from memcontrol.errors import UntrustedConfigError

__all__ = ["TRUSTED", "check_config"]

TRUSTED: Final = (
    "memcontrol",
    "callbacks",
    "lightning",
    "torch",
    "torchvision",
    "torchmetrics",
    "diffusers",
    "transformers",
    "peft",
)
DOTTED: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
PLAIN: Final = (str, int, float, bool, bytes, type(None), Path)
CONFIG_FLAGS: Final = ("--config", "-c")
UNKNOWN: Final = object()
ROOTS: Final = {"model": LightningModule, "data": LightningDataModule}


def check_config(args: list[str]) -> None:
    """Check the configs and values among command-line arguments.

    Args:
        args: Arguments, with the names of configs already resolved.

    Raises:
        UntrustedConfigError: If one names code outside the trusted packages, or a class that does not fit its
            place.
    """
    if "--trust-config" in args:
        return
    for keys, value in _arguments(args):
        if keys == ("config",):
            _check_tree(_load(value), "", UNKNOWN, value)
        else:
            _check_place(keys, value)


def _arguments(args: list[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the dotted key and the text of each option."""
    for i, arg in enumerate(args):
        if not arg.startswith("-"):
            continue
        flag, equals, value = arg.partition("=")
        if not equals:
            value = args[i + 1] if i + 1 < len(args) else ""
        if flag in CONFIG_FLAGS:
            yield ("config",), value
        else:
            yield tuple(flag.lstrip("-").rstrip("+").split(".")), value


def _load(text: str) -> Any:
    try:
        is_file = Path(text).is_file()
    except OSError:
        is_file = False
    try:
        return yaml.safe_load(Path(text).read_text() if is_file else text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UntrustedConfigError(f"{text[:200]!r} is no readable YAML: {error}") from error


def _check_place(keys: tuple[str, ...], text: str) -> None:
    """Check one command-line value, as if it stood in a file."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    tree: Any = value
    for key in reversed(keys):
        tree = {key: tree}
    _check_tree(tree, "", UNKNOWN, f"--{'.'.join(keys)}")


def _check_tree(tree: Any, path: str, place: Any, source: str) -> None:
    """Walk a raw tree; `place` is the type that the value goes to, or UNKNOWN."""
    if isinstance(tree, dict):
        _check_dict(tree, path, place, source)
    elif isinstance(tree, list):
        for i, item in enumerate(tree):
            _check_tree(item, f"{path}[{i}]", _item_type(place), source)
    elif isinstance(tree, str) and not _is_plain(place):
        _check_text(tree, path, place, source)


def _check_dict(tree: dict[Any, Any], path: str, place: Any, source: str) -> None:
    holder = place
    if "class_path" in tree:
        holder = _check_class(tree["class_path"], f"{path}.class_path".lstrip("."), place, source)
    for key, value in tree.items():
        where = f"{path}.{key}".lstrip(".")
        if key == "class_path":
            continue
        if key in ("init_args", "dict_kwargs") and isinstance(value, dict):
            for name, item in value.items():
                _check_tree(item, f"{where}.{name}", _parameter_type(holder, str(name)), source)
        else:
            _check_tree(value, where, _child_type(holder, path, str(key)), source)


def _child_type(holder: Any, path: str, key: str) -> Any:
    if path in ("", *_commands()):
        return ROOTS.get(key, Trainer if key == "trainer" else UNKNOWN)
    return _parameter_type(holder, key)


def _commands() -> tuple[str, ...]:
    return ("fit", "validate", "test", "predict", "slots", "export", "search", "audit", "compare", "plant")


def _check_class(name: Any, path: str, place: Any, source: str) -> Any:
    if not isinstance(name, str):
        raise UntrustedConfigError(f"`{path}` in {source} must be the name of a class, but got {name!r}.")
    if "." not in name:
        return UNKNOWN  # a short name: jsonargparse looks only among classes that are already imported
    found = _resolve(name, path, source)
    expected = [t for t in _members(place) if isinstance(t, type) and t not in PLAIN]
    if isinstance(found, type) and expected and not any(_fits(found, t) for t in expected):
        names = ", ".join(f"{t.__module__}.{t.__qualname__}" for t in expected)
        raise UntrustedConfigError(
            f"`{path}` in {source} names {name}, which is no subclass of what its place asks for: {names}."
        )
    return found


def _fits(found: type, expected: type) -> bool:
    try:
        return issubclass(found, expected)
    except TypeError:
        return True


def _check_text(text: str, path: str, place: Any, source: str) -> None:
    """Check a text where a class or callable may stand: it may be a name, or a file with a nested config."""
    if len(text) < 4096 and text.endswith((".yaml", ".yml", ".json")) and Path(text).is_file():
        _check_tree(_load(text), path, place, text)
        return
    if DOTTED.fullmatch(text) is None:
        return
    root = text.split(".")[0]
    if root in TRUSTED:
        _resolve(text, path, source)
    elif _is_importable(root):
        raise UntrustedConfigError(_refusal(text, path, source))


def _is_importable(root: str) -> bool:
    if root in sys.modules or root in sys.builtin_module_names:
        return True
    try:
        return importlib.util.find_spec(root) is not None
    except (ImportError, ValueError):
        return False


def _resolve(name: str, path: str, source: str) -> Any:
    """Follow a dotted name inside the trusted packages, and see that what it means lies there too."""
    root, *rest = name.split(".")
    if root not in TRUSTED:
        raise UntrustedConfigError(_refusal(name, path, source))
    found: Any = importlib.import_module(root)
    trail = root
    for part in rest:
        trail = f"{trail}.{part}"
        if not hasattr(found, part) and isinstance(found, types.ModuleType):
            try:
                importlib.import_module(trail)
            except ImportError:
                return UNKNOWN  # jsonargparse reports it as a name that does not exist
        found = getattr(found, part, None)
        if found is None:
            return UNKNOWN
        home = found.__name__ if isinstance(found, types.ModuleType) else getattr(found, "__module__", root)
        if str(home).split(".")[0] not in TRUSTED:
            raise UntrustedConfigError(_refusal(f"{name} (which is {home})", path, source))
    return found


def _refusal(name: str, path: str, source: str) -> str:
    return (
        f"`{path}` in {source} names {name}, which lies outside the trusted packages ({', '.join(TRUSTED)}). "
        "Nothing of it was imported. If you wrote the config and the code yourself, add `--trust-config`."
    )


def _parameter_type(holder: Any, name: str) -> Any:
    """Return the declared type of a constructor's parameter, or UNKNOWN."""
    found = []
    for candidate in _members(holder):
        if not isinstance(candidate, type) or candidate in PLAIN:
            continue
        for owner in candidate.__mro__:
            initializer = owner.__dict__.get("__init__")
            if initializer is None or name not in inspect.signature(initializer).parameters:
                continue
            try:
                found.append(typing.get_type_hints(initializer).get(name, UNKNOWN))
            except (NameError, TypeError, AttributeError):
                found.append(UNKNOWN)
            break
    if not found or UNKNOWN in found:
        return UNKNOWN
    return Union[tuple(found)]  # noqa: UP007 - built at run time


def _members(place: Any) -> list[Any]:
    """Return the alternatives of a type, with what containers hold."""
    if place is UNKNOWN:
        return []
    origin = typing.get_origin(place)
    if origin in (Union, types.UnionType):
        return [m for part in typing.get_args(place) for m in _members(part)]
    return [place] if origin is None else [m for part in typing.get_args(place) for m in _members(part)]


def _item_type(place: Any) -> Any:
    members = _members(place)
    return Union[tuple(members)] if members else UNKNOWN  # noqa: UP007 - built at run time


def _is_plain(place: Any) -> bool:
    """Whether a place takes values only, so that no text in it is ever imported."""
    if place is UNKNOWN or place is Any:
        return False
    origin = typing.get_origin(place)
    if origin in (Union, types.UnionType, list, tuple, dict, set):
        return all(_is_plain(part) for part in typing.get_args(place) if part is not Ellipsis)
    return origin is typing.Literal or place in PLAIN
