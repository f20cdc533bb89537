"""What a record is made again with: code revision and versions."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import DEVNULL, CalledProcessError, check_output
from typing import Any, Final

__all__ = ["provenance", "version_of", "versions_of"]

PACKAGES: Final = ("memcontrol", "torch", "lightning", "diffusers", "peft", "nevergrad")
"""Packages that the results of a trial depend on."""


def version_of(package: str) -> str:
    """Return the installed version of a package, or `unknown`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def versions_of(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the installed version of each package."""
    return {name: version_of(name) for name in packages}


def provenance() -> dict[str, Any]:
    """Return the code revision and the versions of what results depend on."""
    return {"revision": _revision(), "versions": versions_of()}


@cache
def _revision() -> str:
    where = str(Path(__file__).parent)
    try:
        return check_output(["git", "-C", where, "rev-parse", "HEAD"], stderr=DEVNULL, text=True).strip()
    except (OSError, CalledProcessError):
        return "unknown"
