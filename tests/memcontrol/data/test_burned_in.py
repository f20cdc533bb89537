"""Writing in pictures is found, said, and left out if asked."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont

from memcontrol.data import burned_in
from memcontrol.data.burned_in import drop_burned_in, find_burned_in, kinds_of, read_words
from memcontrol.data.cache import CacheOptions
from memcontrol.data.imagefolder import ImageFolderDataModule
from memcontrol.data.readers import FileReader
from memcontrol.errors import DataError

needs_engine = pytest.mark.skipif(shutil.which("tesseract") is None, reason="needs the program tesseract")


def picture(text=""):
    """Return a smooth chest-like picture with light letters in a corner."""
    y, x = np.mgrid[0:512, 0:512] / 512
    values = 40 + 90 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.08)
    image = Image.fromarray(values.astype(np.uint8))
    ImageDraw.Draw(image).text((20, 20), text, fill=255, font=ImageFont.load_default(size=28))
    return image


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        ([("PORTABLE", 96.0), ("AP", 90.0), ("L", 99.0)], []),
        ([("ABLE", 96.0)], []),
        ([("DOE,", 96.0), ("JOHN", 90.0)], ["other words"]),
        ([("DOE,", 36.0), ("JOHN", 20.0)], []),
        ([("MRN", 96.0), ("1234567", 90.0)], ["record numbers", "other words"]),
    ],
)
def test_kinds(words, expected):
    assert kinds_of(words) == expected


@needs_engine
@pytest.mark.parametrize(
    ("text", "expected"), [("", set()), ("PORTABLE AP", set()), ("3/14/2021", {"dates"}), ("DOE JOHN", {"other words"})]
)
def test_what_is_written_is_read(text, expected):
    pytest.importorskip("pytesseract")
    assert set(kinds_of(read_words(picture(text)))) == expected


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve pictures, of which the engine finds a date in the first one."""
    rows = []
    for i in range(12):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (32, 32), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        rows.append({"file_name": f"{i}.png", "text": "CXR", "subject_id": f"p{i}"})
    pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    first = np.asarray(Image.open(tmp_path / "0.png"))
    read = []

    def words(image):
        read.append(image)
        return [("3/14/2021", 95.0)] if np.array_equal(np.asarray(image.convert("L")), first) else []

    monkeypatch.setattr(burned_in, "_engine", lambda: None)
    monkeypatch.setattr(burned_in, "read_words", words)
    return tmp_path, read


def loaded(folder, burned_in):
    data = ImageFolderDataModule(
        root=str(folder),
        split_fractions=[0.5, 0.25, 0.25],
        burned_in=burned_in,
        cache=CacheOptions(folder=str(folder / "c")),
    )
    data.setup("fit")
    return sum(len(data.table(split)) for split in ("train", "validate", "test"))


@pytest.mark.parametrize(("choice", "rows"), [("ignore", 12), ("report", 12), ("drop", 11)])
def test_pictures_are_counted_or_left_out(folder, caplog, choice, rows):
    path, read = folder
    with caplog.at_level(logging.WARNING, "memcontrol"):
        assert loaded(path, choice) == rows
    assert ("1 of 12 pictures have writing burned in (dates in 1)" in caplog.text) == (choice != "ignore")
    assert len(read) == (0 if choice == "ignore" else 12)
    loaded(path, choice)
    assert len(read) == (0 if choice == "ignore" else 12)  # each is read once


def test_a_missing_engine_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DataError, match="tesseract-ocr"):
        find_burned_in(pd.DataFrame({"path": [], "content": []}), FileReader(), None)


def test_nothing_found_is_nothing_said(caplog):
    table = pd.DataFrame({"path": ["a"], "content": ["b"]})
    assert drop_burned_in(table, pd.Series([""]), drop=True) is table
    assert not caplog.text
