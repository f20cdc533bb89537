"""A user's own files take no other module's place, and leave nothing half done."""

from __future__ import annotations

import sys

import pytest

from memcontrol.cli.extensions import load_extensions
from memcontrol.errors import MemControlError


def test_a_file_called_like_another_module_is_refused(tmp_path):
    (tmp_path / "peft.py").write_text("")
    before = sys.modules["peft"]
    with pytest.raises(MemControlError, match="another module is called 'peft'"):
        load_extensions([str(tmp_path / "peft.py")], trusts=True)
    assert sys.modules["peft"] is before


def test_a_file_that_fails_is_not_taken_for_loaded(tmp_path):
    file = tmp_path / "fails_once.py"
    file.write_text("raise ValueError('planted')")
    with pytest.raises(ValueError, match="planted"):
        load_extensions([str(file)], trusts=True)
    assert "fails_once" not in sys.modules
    file.write_text("X = 1")
    load_extensions([str(file)], trusts=True)
    assert sys.modules.pop("fails_once").X == 1


@pytest.mark.parametrize("name", ["nowhere.py", "no/folder", "no_such_module"])
def test_what_is_not_there_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MemControlError, match=f"`extensions` names '{name}'"):
        load_extensions([name], trusts=True)
