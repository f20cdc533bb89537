"""Folders as people have them: each is read right, or gets one error with the way out."""

from __future__ import annotations

import json
import logging
import os
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image, TiffImagePlugin

from memcontrol.data.cache import CacheOptions
from memcontrol.data.imagefolder import ImageFolderDataModule
from memcontrol.data.images import Transform, Variant
from memcontrol.errors import DataError

COUNT = 12
VARIANT = Variant()


def picture(number):
    return np.random.default_rng(number).integers(0, 255, (48, 48), dtype=np.uint8)


def table(**columns):
    plain = {
        "file_name": [f"{i}.png" for i in range(COUNT)],
        "text": [f"image {i}" for i in range(COUNT)],
        "subject_id": [f"p{i}" for i in range(COUNT)],
    }
    return pd.DataFrame(plain | columns)


def images(folder, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(COUNT):
        Image.fromarray(picture(i)).save(folder / f"{i}{suffix}")


def renamed(**names):
    def make(folder):
        images(folder)
        table().rename(columns=names).to_csv(folder / "metadata.csv", index=False)

    return make


def columns(**values):
    def make(folder):
        images(folder)
        table(**values).to_csv(folder / "metadata.csv", index=False)

    return make


def splits(names):
    return columns(split=[names[0]] * 8 + [names[1]] * 2 + [names[2]] * 2)


def semicolons(folder):
    images(folder)
    table().to_csv(folder / "metadata.csv", index=False, sep=";")


def latin(folder):
    images(folder)
    table(text=[f"Überblähung {i}" for i in range(COUNT)]).to_csv(
        folder / "metadata.csv", index=False, encoding="cp1252"
    )


def excel_csv(folder):
    images(folder)
    table().to_csv(folder / "metadata.csv", index=False, encoding="utf-16", sep="\t")


def spaces_in_header(folder):
    images(folder)
    table().rename(columns={"text": " text ", "subject_id": "Subject ID"}).to_csv(folder / "metadata.csv", index=False)


def metadata_json(folder):
    images(folder)
    (folder / "metadata.json").write_text(json.dumps(table().to_dict("records")))


def subfolders(prefixed):
    def make(folder):
        for split, rows in (("train", range(8)), ("validation", range(8, 10)), ("test", range(10, 12))):
            part = table().iloc[list(rows)]
            (folder / split).mkdir()
            for i in rows:
                Image.fromarray(picture(i)).save(folder / split / f"{i}.png")
            names = f"{split}/" + part["file_name"] if prefixed else part["file_name"]
            part.assign(file_name=names).to_json(folder / split / "metadata.jsonl", lines=True, orient="records")

    return make


def other_case(folder):
    images(folder, ".PNG")
    table().to_csv(folder / "metadata.csv", index=False)


def other_suffix(folder):
    images(folder, ".jpg")
    table().to_csv(folder / "metadata.csv", index=False)


def unlisted(folder):
    images(folder)
    Image.fromarray(picture(99)).save(folder / "99.png")
    table().to_csv(folder / "metadata.csv", index=False)


def several_captions(folder):
    images(folder)
    rows = table().to_dict("records")
    rows[3]["text"] = ["first caption", "second caption"]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def null_captions(folder):
    images(folder)
    rows = table().to_dict("records")
    rows[3]["text"] = None
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def same_bytes(folder):
    images(folder)
    (folder / "11.png").write_bytes((folder / "0.png").read_bytes())
    table(split=["train"] * 8 + ["validate"] * 2 + ["test"] * 2).to_csv(folder / "metadata.csv", index=False)


def pages(name, **options):
    def make(folder):
        images(folder)
        first, second = (Image.fromarray(picture(i)) for i in (3, 4))
        first.save(folder / name, save_all=True, append_images=[second], **options)
        names = [name if i == 3 else f"{i}.png" for i in range(COUNT)]
        table(file_name=names).to_csv(folder / "metadata.csv", index=False)

    return make


def transparent(folder):
    images(folder)
    for number, below in ((3, 255), (4, 0)):
        values = np.full((48, 48, 4), below, dtype=np.uint8)
        values[..., 3] = 0
        values[10:30, 10:30] = (200, 200, 200, 255)
        Image.fromarray(values).save(folder / f"{number}.png")
    table().to_csv(folder / "metadata.csv", index=False)


def deep(folder):
    """One 14-bit detector; the largest value of one picture lies under 12 bits, that of another over."""
    images(folder)
    for number, top in ((3, 4090), (4, 4100), (5, 16383)):
        values = np.full((48, 48), 1000, dtype=np.uint16)
        values[0, 0] = top
        Image.fromarray(values).save(folder / f"{number}.png")
    table().to_csv(folder / "metadata.csv", index=False)


def white_is_zero(folder):
    images(folder)
    values = np.linspace(0, 65535, 48 * 48).reshape(48, 48).astype(np.uint16)
    for number, photometric in ((3, 1), (4, 0)):
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[262] = photometric
        shown = values if photometric else 65535 - values
        Image.fromarray(shown).save(folder / f"{number}.tif", tiffinfo=info)
        (folder / f"{number}.png").unlink()
    names = [f"{i}.tif" if i in (3, 4) else f"{i}.png" for i in range(COUNT)]
    table(file_name=names).to_csv(folder / "metadata.csv", index=False)


def one_nan(folder):
    images(folder)
    values = np.linspace(0, 1, 48 * 48, dtype=np.float32).reshape(48, 48)
    values[5, 5] = np.nan
    Image.fromarray(values).save(folder / "3.tif")
    names = ["3.tif" if i == 3 else f"{i}.png" for i in range(COUNT)]
    table(file_name=names).to_csv(folder / "metadata.csv", index=False)


def wide(folder):
    images(folder)
    Image.fromarray(np.pad(picture(0), ((0, 0), (0, 48)))).save(folder / "0.png")
    table().to_csv(folder / "metadata.csv", index=False)


def accents(folder):
    """A disk that was written on a Mac, and a table that was not."""
    images(folder)
    composed = "Übersicht.png"
    (folder / "3.png").rename(folder / unicodedata.normalize("NFD", composed))
    table(file_name=[composed if i == 3 else f"{i}.png" for i in range(COUNT)]).to_csv(
        folder / "metadata.csv", index=False
    )


def named(path):
    """Let a row name another file."""

    def make(folder):
        images(folder)
        other = folder.parent / "other.png"
        Image.fromarray(picture(99)).save(other)
        names = [f"{i}.png" for i in range(COUNT)]
        if path == "link":
            (folder / "3.png").unlink()
            (folder / "3.png").symlink_to(other)
        elif path == "fifo":
            (folder / "3.png").unlink()
            os.mkfifo(folder / "3.png")
        else:
            names[3] = str(other) if path == "absolute" else "../other.png"
        table(file_name=names).to_csv(folder / "metadata.csv", index=False)

    return make


def saved(make_image, name="3.png", **options):
    def make(folder):
        images(folder)
        make_image().save(folder / name, **options)
        names = [name if i == 3 else f"{i}.png" for i in range(COUNT)]
        table(file_name=names).to_csv(folder / "metadata.csv", index=False)

    return make


def no_patients(folder):
    images(folder)
    table().drop(columns="subject_id").to_csv(folder / "metadata.csv", index=False)


def rows_of_one_image(folder):
    images(folder)
    rows = pd.concat([table(), table().iloc[[3]].assign(text="another view")])
    rows.to_csv(folder / "metadata.csv", index=False)


def unquoted(every):
    def make(folder):
        images(folder)
        lines = [f"{i}.png,image {i}{', enlarged heart' if every or i == 7 else ''},p{i}" for i in range(COUNT)]
        (folder / "metadata.csv").write_text("\n".join(["file_name,text,subject_id", *lines]))

    return make


def same_row_twice(folder):
    images(folder)
    pd.concat([table(), table().iloc[[3]]]).to_csv(folder / "metadata.csv", index=False)


def categories(folder):
    images(folder)
    table(label="x").astype({"subject_id": "category", "label": "category"}).to_parquet(folder / "metadata.parquet")


READ = {
    "other names of columns": (renamed(file_name="image", text="caption", subject_id="patient"), "is taken for"),
    "spaces in the header": (spaces_in_header, "'Subject ID' is taken for 'subject_id'"),
    "semicolons": (semicolons, "is separated by ';'"),
    "cp1252": (latin, "is read as cp1252"),
    "utf-16 with tabs": (excel_csv, "is read as utf-16"),
    "metadata.json": (metadata_json, ""),
    "tables of subfolders": (subfolders(False), ""),
    "tables of subfolders, names with the folder": (subfolders(True), ""),
    "suffix in another case": (other_case, "12 images are spelled otherwise on disk"),
    "a space at the end": (columns(file_name=[f"{i}.png " for i in range(COUNT)]), ""),
    "accents in two parts": (accents, "1 images are spelled otherwise"),
    "backslashes": (columns(file_name=[f".\\{i}.png" for i in range(COUNT)]), "spelled otherwise"),
    "val and testing": (splits(("Train", "val", "testing")), ""),
    "training, valid": (splits(("training", "valid", "test")), ""),
    "dev": (splits(("TRAIN", "dev", "Test")), ""),
    "an image that is not listed": (unlisted, "1 images in .* named by no row .* 99.png"),
    "several captions": (several_captions, "1 images have several captions"),
    "several rows of one image": (rows_of_one_image, "1 images have several captions"),
    "categories in parquet": (categories, ""),
    "transparent margins": (transparent, ""),
    "14 bits": (deep, r"3 images are deeper than 8 bits: of their values, \[0, 16383\]"),
    "white is zero": (white_is_zero, "2 images are deeper"),
    "not square": (wide, "Crops to 32 x 32 cut off 4 % of the pictures on average, and up to 50 %"),
}
REFUSED = {
    "unknown split": (splits(("train", "val", "extern")), r"names extern \(2 rows\). Known are"),
    "blank split": (splits(("train", "", "test")), r"\(blank\) \(2 rows\)"),
    "blank id": (columns(subject_id=["", *(f"p{i}" for i in range(1, COUNT))]), r"1 x no subject \(patient\)"),
    "null caption": (null_captions, "1 x empty text"),
    "another suffix": (other_suffix, r"12 x missing image: .*0.png \(there is '\d+.jpg'\)"),
    "equal bytes in two splits": (same_bytes, "2 x the same image in two splits"),
    "a TIFF of two pages": (pages("3.tif"), "1 x 2 pages in one file"),
    "a GIF of two pages": (pages("3.gif"), "1 x 2 pages in one file"),
    "NaN in a float TIFF": (one_nan, "1 x values that are no finite numbers"),
    "an unquoted comma in each caption": (unquoted(True), "must stand in quotation marks"),
    "an unquoted comma in one caption": (unquoted(False), "must stand in quotation marks"),
    "the same row twice": (same_row_twice, "1 x duplicate path"),
    "no row of a split": (splits(("train", "train", "test")), "name some of its rows `validate`"),
    "no patients": (no_patients, "data.each_image_a_subject: true"),
    "a name that leads out": (named(".."), "1 of 12 names .* lead out of the folder.* `data.outside: true`"),
    "an absolute name": (named("absolute"), "lead out of the folder"),
    "a link that leads out": (named("link"), "lead out of the folder"),
    "a FIFO": (named("fifo"), "1 x missing image"),
    "an EPS named png": (saved(lambda: Image.new("RGB", (48, 48)), format="EPS"), "1 x unreadable image"),
    "one value in all pixels": (saved(lambda: Image.new("L", (48, 48), 7)), "1 x one value in all pixels"),
    "a strip": (saved(lambda: Image.new("1", (8, 60_000))), "1 x one side more than 16 times the other"),
    "a bomb": (saved(lambda: Image.new("1", (13_000, 13_000))), "1 x more than 150 million pixels"),
    "two columns that could be meant": (
        columns(caption=["x"] * COUNT, prompt=["y"] * COUNT, text=None),
        r"any of \['caption', 'prompt'\] could be meant. Say which with `data.text_column`",
    ),
    "no such column": (renamed(text="txet"), r"Is 'text' the column 'txet'\? Name them with `data.text_column`"),
}


def open_folder(folder, **options):
    data = ImageFolderDataModule(
        str(folder), transform=Transform(size=32), cache=CacheOptions(enabled=False), **options
    )
    data.setup("fit")
    return data


@pytest.mark.parametrize("name", READ)
def test_is_read(tmp_path, caplog, name):
    make, said = READ[name]
    make(tmp_path)
    with caplog.at_level(logging.INFO, "memcontrol"):
        data = open_folder(tmp_path)
    assert caplog.text == "" if not said else re.search(said, caplog.text)
    rows = pd.concat([data.table(split) for split in ("train", "validate", "test")])
    assert len(rows) == COUNT
    assert sorted(rows["subject_id"]) == sorted(f"p{i}" for i in range(COUNT))
    assert all(len(data.table(split)) for split in ("train", "validate", "test"))


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(tmp_path, name):
    make, said = REFUSED[name]
    make(tmp_path)
    if name.startswith("two columns"):
        found = pd.read_csv(tmp_path / "metadata.csv").drop(columns="text")
        found.to_csv(tmp_path / "metadata.csv", index=False)
    with pytest.raises(DataError, match=said):
        open_folder(tmp_path)


def texts_of(folder, **options):
    data = open_folder(folder, **options)
    rows = pd.concat([data.table(split) for split in ("train", "validate", "test")])
    return dict(zip(rows["subject_id"], rows["text"], strict=True))


def test_a_cell_means_what_it_says(tmp_path):
    columns(text=["None", "NA", "null", "nan", "5", *(f"image {i}" for i in range(5, COUNT))])(tmp_path)
    found = texts_of(tmp_path)
    assert [found[f"p{i}"] for i in range(5)] == ["None", "NA", "null", "nan", "5"]


def test_accents_of_cp1252_are_kept(tmp_path):
    latin(tmp_path)
    assert texts_of(tmp_path)["p3"] == "Überblähung 3"


def test_ids_stay_what_they_are(tmp_path):
    ids = ["7", "007", "12345678901234567", "1e1", "10", "10.0", *map(str, range(100, 100 + COUNT - 6))]
    columns(subject_id=ids)(tmp_path)
    assert set(texts_of(tmp_path)) == set(ids)


def test_ids_that_look_like_numbers_alone_stay_what_they_are(tmp_path):
    """`1e1` and `10` are two patients, though a column of both is one of numbers."""
    ids = ["1e1", "10", "10.0", *map(str, range(100, 100 + COUNT - 3))]
    columns(subject_id=ids)(tmp_path)
    assert set(texts_of(tmp_path)) == set(ids)
    assert len(ImageFolderDataModule(str(tmp_path), where="subject_id < 100").rows()) == 3


def test_ids_beside_a_blank_one_stay_whole(tmp_path):
    columns(subject_id=["", *map(str, range(100, 99 + COUNT))])(tmp_path)
    found = texts_of(tmp_path, on_bad_row="skip")
    assert "101" in found
    assert not any(name.endswith(".0") for name in found)


def shown(data, subject):
    rows = {s: data.table(s) for s in ("train", "validate", "test")}
    split, row = next(
        (s, list(t["subject_id"]).index(subject)) for s, t in rows.items() if subject in set(t["subject_id"])
    )
    dataset = data.datasets[split]
    return np.asarray(dataset.reader.read(dataset.paths[row]))[..., 0].astype(int)


def test_what_is_transparent_is_black(tmp_path):
    transparent(tmp_path)
    data = open_folder(tmp_path)
    one, other = shown(data, "p3"), shown(data, "p4")
    assert np.array_equal(one, other)
    assert one[0, 0] == 0
    assert one[20, 20] == 200


def test_pictures_of_one_detector_are_as_bright_as_each_other(tmp_path):
    deep(tmp_path)
    data = open_folder(tmp_path)
    assert [shown(data, f"p{i}")[20, 20] for i in (3, 4, 5)] == [round(255 * 1000 / 16383)] * 3
    assert data.value_range == [0, 16383]
    narrow = open_folder(tmp_path, value_range=(0, 4095))
    assert [shown(narrow, f"p{i}")[20, 20] for i in (3, 4, 5)] == [round(255 * 1000 / 4095)] * 3
    keys = [d.datasets["train"].image_keys() for d in (data, narrow)]
    assert not {*keys[0]} & {*keys[1]}  # none is read from what the other has cached


def test_white_may_be_zero(tmp_path):
    white_is_zero(tmp_path)
    data = open_folder(tmp_path)
    assert abs(shown(data, "p3") - shown(data, "p4")).max() <= 1
    assert shown(data, "p3")[0, 0] == 0


@pytest.mark.parametrize(("fit", "ends"), [("crop", (256, 255)), ("pad", (0, 255)), ("squash", (0, 255))])
def test_a_square_of_a_wide_picture(fit, ends):
    values = np.full((40, 120), 255, dtype=np.uint8)
    values[:, :10] = values[:, -10:] = 0
    pixels = (Transform(size=40, fit=fit).apply(Image.fromarray(values).convert("RGB"), VARIANT) / 2 + 0.5) * 255
    assert pixels.shape == (3, 40, 40)
    edge, centre = pixels[0, 20, 1], pixels[0, 20, 20]
    assert (round(float(edge) / 16) * 16, round(float(centre))) == ends
    assert (round(float(pixels[0, 1, 20])) == 0) == (fit == "pad")


def test_any_of_several_captions_is_trained_on_and_the_first_scores(tmp_path):
    several_captions(tmp_path)
    data = open_folder(tmp_path, captions="any", split_seed=2)
    dataset = data.datasets["train"]
    row = list(dataset.table["subject_id"]).index("p3")
    seen = {dataset[(row, seed)]["text"] for seed in range(20)}
    assert seen == {"first caption", "second caption"}
    assert data.table("train")["text"].iat[row] == "first caption"
    assert len(dataset.text_keys()) == len(dataset.table) + 1
    fixed = open_folder(tmp_path, split_seed=2).datasets["train"]
    assert {fixed[(row, seed)]["text"] for seed in range(20)} == {"first caption"}


def test_where_compares_numbers_beside_blanks(tmp_path):
    columns(age=["NA", "", *map(str, range(20, 18 + COUNT))])(tmp_path)
    data = ImageFolderDataModule(str(tmp_path), where="age >= 22")
    assert len(data.rows()) == COUNT - 4
    with pytest.raises(DataError, match="compares columns with what they are not"):
        ImageFolderDataModule(str(tmp_path), where="age >= 'x'").rows()


def test_what_lies_outside_is_read_if_that_is_said(tmp_path):
    folder = tmp_path / "data"
    named("absolute")(folder)
    assert str(tmp_path / "other.png") in set(
        pd.concat([open_folder(folder, outside=True).table(s) for s in ("train", "validate", "test")])["path"]
    )
