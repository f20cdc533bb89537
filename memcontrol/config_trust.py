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
from lightning.pytorch import LightningDataModule, LightningModule

from memcontrol.config_places import UNKNOWN, Named, Root, command_options, named_nodes, subclasses_named
from memcontrol.errors import UntrustedConfigError
from memcontrol.module import MemControlModule

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
BASES: Final = {"model": LightningModule, "data": LightningDataModule}


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
    found = [_tree(keys, value) for keys, value in _arguments(args)]
    trees = [tree for tree, _ in found]
    root = Root({key: _named(key, base, trees) for key, base in BASES.items()}, command_options())
    for tree, source in found:
        _check_tree(tree, "", root, source)


def _named(key: str, base: type, trees: list[Any]) -> Named:
    """Return the place of the model or the data, with every class that is named for it."""
    classes: set[type] = {MemControlModule} if key == "model" else set()
    for node in named_nodes(trees, key):
        if isinstance(node, str):
            node = _load(node) if _is_config(node) else {"class_path": node}
        name = node.get("class_path") if isinstance(node, dict) else None
        if name is None:
            continue
        name = str(name)
        found = {_resolve(name, f"{key}.class_path", "the config")} if "." in name else subclasses_named(base, name)
        if not found or not all(isinstance(item, type) for item in found):
            return Named(base)
        classes |= found
    return Named(base, tuple(classes))


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


def _tree(keys: tuple[str, ...], text: str) -> tuple[Any, str]:
    """Return a file, or one command-line value as if it stood in a file, and where it is from."""
    if keys == ("config",):
        return _load(text), text
    try:
        tree: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        tree = text
    for key in reversed(keys):
        tree = {key: tree}
    return tree, f"--{'.'.join(keys)}"


def _check_tree(tree: Any, path: str, place: Any, source: str) -> None:
    """Walk a raw tree; `place` is the type that the value goes to, `Root`, `Named` or UNKNOWN."""
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
            place = holder.child(str(key)) if isinstance(holder, Root) else _parameter_type(holder, str(key))
            _check_tree(value, where, place, source)


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
    if _is_config(text):
        _check_tree(_load(text), path, place, text)
        return
    if DOTTED.fullmatch(text) is None:
        return
    root = text.split(".")[0]
    if root in TRUSTED:
        _resolve(text, path, source)
    elif _is_importable(root):
        raise UntrustedConfigError(_refusal(text, path, source))


def _is_config(text: str) -> bool:
    return len(text) < 4096 and text.endswith((".yaml", ".yml", ".json")) and Path(text).is_file()


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
    if isinstance(holder, Named) and holder.classes:
        types = [_parameter_type(found, name) for found in holder.classes]
        return UNKNOWN if UNKNOWN in types else Union[tuple(types)]  # noqa: UP007 - built at run time
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
    if place is UNKNOWN or isinstance(place, Root):
        return []
    if isinstance(place, Named):
        return [place.base]
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
