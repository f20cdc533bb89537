"""Measures, probes, adapters, mitigations, proposers and data sources of a user's own: files that a config names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from memcontrol.errors import MemControlError, UntrustedConfigError

__all__ = ["load_extensions"]


def load_extensions(names: Sequence[str] | str | None, trusts: bool) -> None:
    """Import what `extensions` names, once in a process; later, its classes can be named as `file.Class`.

    Args:
        names: Python files, folders of a package, or importable modules.
        trusts: Whether the config is trusted to import code.

    Raises:
        UntrustedConfigError: If it is not.
        MemControlError: If there is no such file or module, or its name is taken.
    """
    if names and not trusts:
        raise UntrustedConfigError(
            f"Argument `extensions` names {names}, which would be imported and run. Nothing of it was. If you "
            "wrote the config and the code yourself, add `--trust-config`."
        )
    if isinstance(names, str) and names:
        names = list(yaml.safe_load(names)) if names.startswith("[") else [names]
    for name in names or ():
        path = Path(name).expanduser()
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            _import_file(path)
        else:
            _import_module(name)


def _import_module(name: str) -> None:
    if "/" in name or importlib.util.find_spec(name.partition(".")[0]) is None:
        raise MemControlError(
            f"Argument `extensions` names {name!r}, which is neither a Python file, nor a folder with `__init__.py`, "
            "nor an importable module. Paths are taken from where you are."
        )
    importlib.import_module(name)


def _import_file(path: Path) -> None:
    name = path.stem
    file = path / "__init__.py" if path.is_dir() else path
    if name in sys.modules:
        known = getattr(sys.modules[name], "__file__", None)
        if known == str(file.resolve()):
            return
        raise MemControlError(
            f"Argument `extensions` names {str(path)!r}, but another module is called {name!r} ({known}). Rename the "
            "file."
        )
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    if spec is None or spec.loader is None or not file.is_file():
        raise MemControlError(f"Argument `extensions` names {str(path)!r}, which is no Python file or package here.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
