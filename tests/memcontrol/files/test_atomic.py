"""A file is replaced whole or not at all, and JSON holds finite numbers only."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np

from memcontrol.files.atomic import finite, replacing, write_json, write_text

NAN, INF = float("nan"), float("inf")


def test_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "folder" / "file.txt"
    write_text(path, "old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with suppress(RuntimeError), replacing(path) as partial:
        partial.write_text("ne")
        raise RuntimeError
    assert path.read_text() == "old"
    write_text(path, "new")  # what the first attempt left is in nobody's way
    assert path.read_text() == "new"


def test_finite_at_any_depth():
    values = {"a": [1.5, NAN, (INF, "nan")], "b": {"c": -INF, "d": None}, "e": True, "f": np.float64(NAN)}
    assert finite(values) == {"a": [1.5, None, [None, "nan"]], "b": {"c": None, "d": None}, "e": True, "f": None}


def test_json_writes_null(tmp_path):
    def refuse(name):
        raise AssertionError(name)

    path = tmp_path / "values.json"
    write_json(path, {"b": NAN, "a": [INF, 2.0]}, sort_keys=True)
    assert json.loads(path.read_text(), parse_constant=refuse) == {"a": [None, 2.0], "b": None}
    assert path.read_text().startswith('{\n  "a"')
    write_json(path, [1, NAN], indent=None)
    assert path.read_text() == "[1, null]\n"
