"""Findings and impression of reports as they are written."""

# ruff: noqa: E501 - reports as they are written

from __future__ import annotations

import zipfile

import pandas as pd
import pytest

from memcontrol.data.mimic import MimicCxrDataModule
from memcontrol.data.reports import read_reports, sections_of, without
from memcontrol.errors import DataError
from tests.memcontrol.data.test_sources import SHARED, make_mimic

SHAPES = {
    "both": (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  ___F with cough\n"
        " \n COMPARISON:  ___\n \n FINDINGS: \n \n Lungs are clear.  No effusion.\n \n IMPRESSION: \n \n No pneumonia.",
        "Lungs are clear. No effusion.", "No pneumonia.",
    ),
    "no findings": (" FINAL REPORT\n HISTORY:  Pain.\n\n IMPRESSION:  AP chest compared to ___:\n\n Mild edema.", None,
                    "AP chest compared to ___: Mild edema."),
    "no impression": (" FINAL REPORT\n INDICATION: Fever.\n\n FINDINGS:  Heart size is normal.", "Heart size is normal.", None),
    "findings and impression together": (" INDICATION: x\n\n FINDINGS AND IMPRESSION:  Clear.", None, "Clear."),
    "with a slash": (" FINDINGS/IMPRESSION: Small effusion.", None, "Small effusion."),
    "conclusion": (" REPORT:  Tube in place.\n CONCLUSION:  Unchanged.", "Tube in place.", "Unchanged."),
    "small letters": (" Findings: Clear lungs.\n Impression: Normal.", "Clear lungs.", "Normal."),
    "several": (" FINDINGS: One.\n\n IMPRESSION: Two.\n\n FINDINGS: Three.", "One. Three.", "Two."),
    "addendum": (" IMPRESSION: Normal.\n\n ADDENDUM:  Read again by Dr. ___.", None, "Normal."),
    "wet read": (" WET READ: ___ ___ 8:04 PM\n No pneumothorax.\n ____________\n FINAL REPORT\n IMPRESSION: No edema.", None,
                 "No edema."),
    "no heading": (" FINAL REPORT\n\n Single view of the chest.\n\n Lungs are clear.", None, None),
    "colons in the text": (" FINDINGS:  Lines: right PICC ends in SVC.\n\n IMPRESSION:  1. No change.\n 2. Edema.",
                           "Lines: right PICC ends in SVC.", "1. No change. 2. Edema."),
    "empty": ("", None, None),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_taken_apart(shape):
    text, findings, impression = SHAPES[shape]
    found = sections_of(text)
    assert (found.get("findings"), found.get("impression")) == (findings, impression)


def test_without_a_heading_the_last_paragraph_is_there():
    assert sections_of(SHAPES["no heading"][0])["last_paragraph"] == "Lungs are clear."


def test_what_no_image_shows_can_be_left_out():
    text = "Compared to the previous radiograph, the effusion has increased. Lungs are clear. ___ was notified."
    assert without(text, ["comparisons"]) == "Lungs are clear. ___ was notified."
    assert without(text, ["placeholders"]).endswith("Lungs are clear.")
    assert without(text, ["placeholders", "comparisons"]) == "Lungs are clear."
    assert without(text, []) == text


def write_reports(root, form, number=12):
    """Write the reports of `make_mimic` as PhysioNet gives them."""
    texts = {}
    for i in range(number):
        subject, study = 10000032 + i // 2, 50414267 + i
        body = f" FINAL REPORT\n FINDINGS:\n Findings\n {i}.\n" + ("" if i == 0 else f"\n IMPRESSION: Impression {i}.")
        texts[f"files/p10/p{subject}/s{study}.txt"] = body
    if form == "folder":
        for name, text in texts.items():
            (root / "reports" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "reports" / name).write_text(text)
        return root / "reports"
    path = root / "mimic-cxr-reports.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_official_reports_are_what_the_sectioned_csv_says(tmp_path, form, caplog):
    root, csv = make_mimic(tmp_path)
    caplog.set_level("INFO", logger="memcontrol")
    official = MimicCxrDataModule(str(root), str(write_reports(tmp_path, form)), views=["PA"], **SHARED).rows()
    assert "12 reports: 11 have findings and impression, 1 findings alone, 0 impression alone, 0 neither" in caplog.text
    pd.testing.assert_frame_equal(official, MimicCxrDataModule(str(root), str(csv), views=["PA"], **SHARED).rows())


def test_studies_of_which_nothing_is_left_are_left_out(tmp_path):
    root, _ = make_mimic(tmp_path)
    path = write_reports(tmp_path, "folder")
    study = next(path.rglob("s50414270.txt"))
    study.write_text("FINDINGS: Unchanged since ___.")
    options = {"views": ["PA"], **SHARED}
    kept = MimicCxrDataModule(str(root), str(path), leave_out=["comparisons"], **options).rows()
    assert len(kept) == 11
    assert len(MimicCxrDataModule(str(root), str(path), **options).rows()) == 12


def test_files_without_reports_are_refused(tmp_path):
    (tmp_path / "reports").mkdir()
    with pytest.raises(DataError, match="has no reports in it"):
        read_reports(tmp_path / "reports")
    (tmp_path / "broken.zip").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match="no zip that can be read"):
        read_reports(tmp_path / "broken.zip")
    pd.DataFrame({"study": ["s1"], "findings": ["Clear."]}).to_csv(tmp_path / "some.csv", index=False)
    root, _ = make_mimic(tmp_path / "mimic")
    with pytest.raises(DataError, match=r"section` is 'impression', which no report .* has\. They have \['findings'\]"):
        MimicCxrDataModule(str(root), str(tmp_path / "some.csv"), **SHARED).rows()
