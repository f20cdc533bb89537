"""What the README says is what memcontrol says of itself."""

from __future__ import annotations

from pathlib import Path

from tools.measures_table import table


def test_measures_are_those_of_the_readme():
    assert table() in Path("README.md").read_text(), "run tools/measures_table.py and put its table into the README"
