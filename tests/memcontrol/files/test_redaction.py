"""What a journal and a report say of an error: what went wrong, and nobody's path or id."""

from __future__ import annotations

import json
import stat

import pandas as pd
import pytest

from memcontrol.data.check import find_problems
from memcontrol.files.redaction import open_private, paths_of, shareable, without_paths
from memcontrol.search.options import SearchOptions
from memcontrol.search.records import TrialRecord, TrialState
from memcontrol.search.report import write_report
from memcontrol.search.space import SearchSpace
from memcontrol.search.study import Study

IMAGE = "files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"FileNotFoundError: No such file: '/data/mimic/{IMAGE}'", "FileNotFoundError: No such file: '<path>'"),
        (f"cannot read {IMAGE}: truncated", "cannot read <path>: truncated"),
        ("OSError: No space left on device: '/a b/c d.jpg'", "OSError: No space left on device: '<path>'"),
        ("`root` is \"/O'Brien/x y\", which lacks it.", '`root` is "<path>", which lacks it.'),
        ("root=/mnt/x, ~/y and ../z/a.", "root=<path>, <path> and <path>."),
        (r"no C:\Users\me\x.png here", "no <path> here"),
        ("cannot identify image file 'John Doe.png' or Doe.PNG.", "cannot identify image file '<path>' or <path>."),
        ("p10000032, s50414267, 10000032: 02aa804e-bde0afdd-112c0b34-7bc16630-4e384014", "<id>, <id>, <id>: <id>"),
        ("IndexError: 12 of 3/4 in x_p10000032_1", "IndexError: 12 of 3/4 in x_<id>_1"),
        ("No `reward/kid` and/or val/loss (n/a): 0.12345678", "No `reward/kid` and/or val/loss (n/a): 0.12345678"),
        ("KeyError: 'kid'", "KeyError: 'kid'"),
        ("Lower `trainer.max_steps`; see https://host/x?y=1.", "Lower `trainer.max_steps`; see <path>."),
    ],
)  # fmt: skip
def test_paths_and_ids_are_replaced(text, expected):
    found = without_paths(text)
    assert found == expected
    assert without_paths(found) == found


def test_what_a_config_names_is_replaced_wherever_it_stands():
    config = {
        "init_args": {"root": "my hospital", "reports": "/of x/re ports/", "where": "seen == 0", "names": ["a/b"]}
    }
    known = list(paths_of(config))
    assert {"my hospital", "/of x/re ports", "a/b"} < set(known)
    assert without_paths("in 'my hospital': a my hospital", known) == "in '<path>': a my hospital"
    assert without_paths("in /of x/re ports/s1/a.txt: bad", known) == "in <path>: bad"
    assert without_paths("in /of x/re ports.", known) == "in <path>."


def test_rows_that_a_data_set_names_are_replaced():
    table = pd.DataFrame({"path": ["Jane Doe", "p1/x y.jpg"], "problem": ["missing image", "too small: 3 pixels"]})
    found = without_paths(f"DataError: 2 of 9 rows cannot be used:\n{find_problems(table)}\nMend them, or go on.")
    assert found.splitlines()[1:] == ["  1 x missing image: <path>", "  1 x too small: <path>", "Mend them, or go on."]


def test_the_whole_text_stays_in_a_private_log(tmp_path):
    log = tmp_path / "trial" / "trial.log"
    log.parent.mkdir()
    log.write_text("before\n")
    log.chmod(0o644)
    said = shareable(f"DataError: {IMAGE} is damaged", log.parent, ())
    assert said == "DataError: <path> is damaged (The whole text is in its trial.log.)"
    assert log.read_text() == f"before\n\nFailed: DataError: {IMAGE} is damaged\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_private_file_is_private_from_the_start(tmp_path):
    with open_private(tmp_path / "result.json", "w") as file:
        assert stat.S_IMODE((tmp_path / "result.json").stat().st_mode) == 0o600
        json.dump({}, file)


def test_a_report_of_an_older_journal_names_no_path(tmp_path):
    study = Study(tmp_path, SearchOptions(), SearchSpace(("a",), ()), "", {"data": {"init_args": {"root": "mine"}}})
    error = f"DataError: '{IMAGE}' is not in 'mine' (p10000032)"
    write_report(study, [TrialRecord(0, TrialState.FAILED, (1,), (), {}, "0", 0, error=error)], [], None)
    page = (tmp_path / "report.html").read_text()
    assert "DataError: &#39;&lt;path&gt;&#39; is not in &#39;&lt;path&gt;&#39; (&lt;id&gt;)" in page
    assert "p10000032" not in page
    assert "trials/trial-NNNN/trial.log" in page


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no image for patient 123456", "no image for patient <id>"),
        ("MRN: 00-123-45 is there twice", "MRN <id> is there twice"),
        ("study no. 77120034 lacks text", "study no. <id> lacks text"),
        ("of 1200 rows 17 are bad in trial 12345", "of 1200 rows 17 are bad in trial 12345"),
        (
            "the caption 'Mr Smith has a large left pleural effusion since Monday' is too long",
            "the caption <text> is too long",
        ),
        ("Argument `mask` is 'paper13'", "Argument `mask` is 'paper13'"),
    ],
)
def test_record_numbers_and_captions_are_replaced(text, expected):
    assert without_paths(text) == expected
