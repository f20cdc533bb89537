"""A record names the revision and the versions it was made with, as far as they are known."""

from __future__ import annotations

from pathlib import Path
from subprocess import CalledProcessError

import pytest
import torch

from memcontrol.files import provenance as source
from memcontrol.files.provenance import provenance, version_of, versions_of


@pytest.fixture(autouse=True)
def _fresh():
    source._revision.cache_clear()
    yield
    source._revision.cache_clear()


def test_revision_and_versions_are_named(monkeypatch):
    def git(command, **options):
        assert command == ["git", "-C", str(Path(source.__file__).parent), "rev-parse", "HEAD"]  # not where users are
        return "abc123\n"

    monkeypatch.setattr(source, "check_output", git)
    found = provenance()
    assert found["revision"] == "abc123"
    assert set(found["versions"]) == {"memcontrol", "torch", "lightning", "diffusers", "peft", "nevergrad"}
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_package_that_is_not_there():
    assert version_of("memcontrol-is-not-called-this") == "unknown"
    assert versions_of(("memcontrol-is-not-called-this",)) == {"memcontrol-is-not-called-this": "unknown"}


@pytest.mark.parametrize("error", [FileNotFoundError("git"), CalledProcessError(128, "git")])
def test_git_that_fails(monkeypatch, error):
    def git(command, **options):
        raise error

    monkeypatch.setattr(source, "check_output", git)
    assert provenance()["revision"] == "unknown"
