"""What is installed, and what may be, is newer than the advisories that are known."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADVISORIES = yaml.safe_load(Path(__file__).with_name("advisories.yaml").read_text())


def requirements():
    extras = [name for group in PROJECT["optional-dependencies"].values() for name in group]
    found = [Requirement(line) for line in [*PROJECT["dependencies"], *extras]]
    return {canonicalize_name(each.name): each for each in found if each.name != "memcontrol"}


def locked():
    """Return each package of the lock file with its version; hashes are pip's to check."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [Requirement(line.rstrip("\\ ")) for line in lines if line and not line.startswith((" ", "#"))]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}


def is_hit(advisory, version):
    if "bad" in advisory:
        return version in advisory["bad"]
    return advisory["fixed"] is not None and Version(version) < Version(advisory["fixed"])


def test_the_lock_file_holds_no_known_fault():
    versions = locked()
    hit = [a for a in ADVISORIES if (v := versions.get(canonicalize_name(a["package"]))) and is_hit(a, v)]
    assert not hit
    assert len(ADVISORIES) > 150
    assert all(a.get("fixed") or a.get("bad") or a.get("ours") for a in ADVISORIES)


@pytest.mark.parametrize("name", sorted(requirements()))
def test_no_lower_bound_allows_a_known_fault(name):
    bounds = [Version(s.version) for s in requirements()[name].specifier if s.operator == ">="]
    assert bounds, f"{name} has no lower bound"
    assert not [a for a in ADVISORIES if canonicalize_name(a["package"]) == name and is_hit(a, str(max(bounds)))]


def test_the_lock_file_is_that_of_the_project():
    versions = locked()
    only = {**default_environment(), "extra": ""}
    for name, wanted in requirements().items():
        if wanted.marker is None or wanted.marker.evaluate(only):
            if name in ("bitsandbytes", "torchxrayvision"):  # extras for a GPU and for weights, not needed for tests
                continue
            assert versions[name] in wanted.specifier, f"Run `make lock`: {name} is {versions[name]}, wanted {wanted}"
