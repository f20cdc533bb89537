"""What a record is run again with: code revision and versions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from subprocess import DEVNULL, CalledProcessError, check_output
from typing import Any

__all__ = ["provenance"]


def provenance() -> dict[str, Any]:
    """Return the code revision and the versions of what results depend on."""
    versions = {}
    for name in ("memcontrol", "torch", "lightning", "diffusers", "peft", "nevergrad"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    try:
        where = str(Path(__file__).parent)
        revision = check_output(["git", "-C", where, "rev-parse", "HEAD"], stderr=DEVNULL, text=True).strip()
    except (OSError, CalledProcessError):
        revision = "unknown"
    return {"revision": revision, "versions": versions}
