"""What may identify a patient in a caption is counted, shown at the terminal alone, and left out if asked."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memcontrol.data.identifiers import find_identifiers, report_identifiers, without_identifiers
from memcontrol.data.imagefolder import ImageFolderDataModule
from memcontrol.data.tidying import without_identified


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Compared with 3/14/2021, no change.", ["dates"]),
        ("Exam of 2021-03-14.", ["dates"]),
        ("Exam of March 14th, 2021", ["dates"]),
        ("Untersuchung vom 14.03.21", ["dates"]),
        ("MRN: 0012345", ["record numbers"]),
        ("Accession number 77-1234", ["record numbers"]),
        ("call 617-555-0123", ["telephone numbers"]),
        ("(617) 555 0123", ["telephone numbers"]),
        ("Mrs. O'Neil has pneumonia", ["names after a title"]),
        ("discussed with Prof Müller", ["names after a title"]),
        ("CXR PA, 60M; no acute finding", []),
        ("A 2.5 x 3 cm nodule in the right upper lobe; T4/5, 3-4 ribs, 10-15 mmHg", []),
        ("Dr. ___ was told at 10:30", []),
        ("ratio 12.345678 and 1234567.5", []),
    ],
)
def test_kinds(text, kinds):
    assert find_identifiers(text) == kinds


def test_the_first_few_are_shown_at_the_terminal_alone(monkeypatch, capsys, caplog):
    captions = [("Seen by Dr. Smith.",), ("Clear.",), ("MRN 123456", "Clear.")]
    with caplog.at_level(logging.WARNING, "memcontrol"):
        report_identifiers(captions)
        assert "record numbers in 1 rows, names after a title in 1 rows" in caplog.text
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        report_identifiers(captions)
    assert "Smith" not in caplog.text
    assert capsys.readouterr().err.count("Dr. Smith") == 1


def test_sentences_are_left_out(tmp_path):
    assert without_identifiers("Seen by Dr. Smith; clear lungs. Told Mr. Fox on 1/2/2020.") == "clear lungs."
    names = [f"{i}.png" for i in range(12)]
    for i, name in enumerate(names):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8)).save(tmp_path / name)
    rows = [{"file_name": n, "text": f"Clear lungs {i}. Told Dr. Smith.", "subject_id": i} for i, n in enumerate(names)]
    pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    options = {"root": str(tmp_path), "split_fractions": [0.5, 0.25, 0.25]}
    module = ImageFolderDataModule(**options, identifiers="drop")
    module.setup("fit")
    texts = [text for split in ("train", "validate", "test") for text in module.table(split)["text"]]
    assert sorted(texts) == sorted(f"Clear lungs {i}." for i in range(12))


def test_what_is_left_out_is_counted(caplog):
    table = pd.DataFrame({"text": ["Clear. Seen by Dr. Smith.", "Clear.", "No effusion."]})
    with caplog.at_level(logging.INFO, "memcontrol"):
        assert without_identified(table, "drop")["text"].tolist() == ["Clear.", "Clear.", "No effusion."]
    assert "Of 1 of 3 rows, sentences" in caplog.text
