"""Sources of rows: phantoms, folders, prepared tables, MIMIC-CXR-JPG."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memcontrol.data.cache import CacheOptions, clear_cache
from memcontrol.data.filters import keep_where
from memcontrol.data.imagefolder import ImageFolderDataModule
from memcontrol.data.images import Transform
from memcontrol.data.mimic import MimicCxrDataModule
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.data.prepared import PreparedTableDataModule
from memcontrol.data.readers import read_image
from memcontrol.data.splits import MemorizationSubset
from memcontrol.data.tidying import excluded_patients
from memcontrol.errors import DataError
from memcontrol.files.sheet import write_sheet

SHARED = {"transform": Transform(size=32), "cache": CacheOptions(enabled=False)}


def write_image(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(value)
    Image.fromarray(rng.integers(0, 255, (40, 48), dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    rows = []
    for i in range(30):
        write_image(tmp_path / f"{i}.png", i)
        rows.append({"file_name": f"{i}.png", "text": f"image {i}", "subject_id": i // 2, "seen": i % 3})
    pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path


def test_no_subject_is_in_two_splits(folder):
    data = ImageFolderDataModule(str(folder), **SHARED)
    data.setup("fit")
    subjects = [set(data.table(split)["subject_id"]) for split in ("train", "validate", "test")]
    assert len(set.union(*subjects)) == sum(map(len, subjects)) == 15
    assert sum(len(data.table(split)) for split in ("train", "validate", "test")) == 30


def test_where_keeps_rows_and_runs_nothing(folder):
    data = ImageFolderDataModule(str(folder), where="seen == 0", **SHARED)
    assert len(data.rows()) == 10
    for text in ("@pd.io", "__import__('os')", "seen.map(print)", "absent == 1"):
        with pytest.raises(DataError):
            keep_where(pd.DataFrame({"seen": [0]}), text)


def test_bad_rows_are_named_or_left_out(folder):
    (folder / "3.png").unlink()
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:300])
    (folder / "5.png").write_text("no image")
    table = pd.read_csv(folder / "metadata.csv")
    table.loc[6, "text"] = " "
    table.loc[7, "file_name"] = "8.png"
    table.to_csv(folder / "metadata.csv", index=False)
    with pytest.raises(DataError) as caught:
        ImageFolderDataModule(str(folder), **SHARED).setup("fit")
    for problem in ("missing image", "truncated image", "unreadable image", "empty text", "duplicate path"):
        assert f"1 x {problem}" in str(caught.value)
    cache = CacheOptions(folder=str(folder / "cache"))
    data = ImageFolderDataModule(str(folder), on_bad_row="skip", transform=Transform(size=32), cache=cache)
    data.setup("fit")
    rejected = folder / "cache" / "rejected.csv"
    assert len(pd.read_csv(rejected)) == 5
    assert rejected.stat().st_mode & 0o077 == 0  # it names patients
    clear_cache(cache)
    assert not (folder / "cache" / "verdicts.sqlite").exists()


def test_a_bad_row_changes_no_other(folder):
    options = {"on_bad_row": "skip", "data_fraction": 0.5, **SHARED}
    before = ImageFolderDataModule(str(folder), **options)
    before.setup("fit")
    used = [set(before.table(split)["path"]) for split in ("train", "validate", "test")]
    bad = min(used[0])
    (folder / bad).write_text("no image")
    (folder / min({str(p) for p in folder.glob("*.png")} - set.union(*used))).write_text("not looked at")
    after = ImageFolderDataModule(str(folder), **options)
    after.setup("fit")
    assert [set(after.table(split)["path"]) for split in ("train", "validate", "test")] == [used[0] - {bad}, *used[1:]]
    assert before.training_set() != after.training_set()


def test_subject_in_two_splits_is_refused(folder):
    table = pd.read_csv(folder / "metadata.csv").assign(split=["train", "validate"] * 15)
    table.to_csv(folder / "metadata.csv", index=False)
    with pytest.raises(DataError, match="subject in two splits"):
        ImageFolderDataModule(str(folder), **SHARED).setup("fit")


@pytest.mark.parametrize("depth", [8, 12, 16])
def test_deep_images_load_alike(tmp_path, depth):
    ramp = np.linspace(0, 2**depth - 1, 64).reshape(8, 8)
    Image.fromarray(ramp.astype(np.uint8 if depth == 8 else np.uint16)).save(tmp_path / "x.png")
    values = np.array(read_image(tmp_path / "x.png"))
    assert values.shape == (8, 8, 3)
    assert abs(values[..., 0] - np.linspace(0, 255, 64).reshape(8, 8)).max() <= 1


def test_memorization_subset_is_repeated():
    data = PhantomDataModule(
        num_subjects=20, max_train_images=12, memorization=MemorizationSubset(num_images=3, repeats=5), **SHARED
    )
    data.setup("fit")
    rows, counts = np.unique(data.datasets["train"].order, return_counts=True)
    assert len(rows) == 12
    assert sorted(counts) == [1] * 9 + [5] * 3
    assert set(data.memorized_rows()) == set(rows[counts == 5])


def test_same_seed_draws_the_same_phantom():
    one, other = (PhantomDataModule(num_subjects=5, **SHARED) for _ in range(2))
    paths = one.rows()["path"]
    assert one.rows().equals(other.rows())
    assert one.reader.read(paths[0]).tobytes() == other.reader.read(paths[0]).tobytes()
    assert one.reader.read(paths[0]).tobytes() != one.reader.read(paths[2]).tobytes()


@pytest.mark.parametrize("suffix", ["csv", "xlsx", "parquet"])
def test_prepared_table(folder, suffix):
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(12)], "text": "x-ray", "subject_id": range(12)})
    path = folder / f"table.{suffix}"
    {"csv": table.to_csv, "xlsx": table.to_excel, "parquet": table.to_parquet}[suffix](path, index=False)
    data = PreparedTableDataModule(str(path), **SHARED)
    data.setup("fit")
    assert len(data.table("train")) == 10


def make_mimic(root, num_studies=12, num_held=2):
    """Write a tree in the official layout; returns root and reports."""
    keys, reports = [], []
    for i in range(num_studies):
        subject, study, dicom = 10000032 + i // 2, 50414267 + i, f"{i:08x}-aaaa"
        split = "validate" if i >= num_studies - num_held else "train"
        split = "test" if i >= num_studies - num_held // 2 and num_held > 2 else split
        for view, suffix in (("PA", "p"), ("LATERAL", "l")):
            name = dicom + suffix
            keys.append((name, study, subject, split, view))
            write_image(root / "files" / "p10" / f"p{subject}" / f"s{study}" / f"{name}.jpg", i)
        reports.append({"study": f"s{study}", "impression": "" if i == 0 else f"Impression {i}.",
                        "findings": f"Findings\n {i}.", "last_paragraph": "", "comparison": ""})  # fmt: skip
    table = pd.DataFrame(keys, columns=["dicom_id", "study_id", "subject_id", "split", "ViewPosition"])
    table.drop(columns="ViewPosition").to_csv(root / "mimic-cxr-2.0.0-split.csv.gz", index=False)
    table.drop(columns="split").to_csv(root / "mimic-cxr-2.0.0-metadata.csv.gz", index=False)
    labels = table[["subject_id", "study_id"]].drop_duplicates().assign(Edema=[1.0, None] * (num_studies // 2))
    labels.to_csv(root / "mimic-cxr-2.0.0-chexpert.csv.gz", index=False)
    pd.DataFrame(reports).to_csv(root / "mimic_cxr_sectioned.csv", index=False)
    return root, root / "mimic_cxr_sectioned.csv"


def test_mimic_in_its_official_layout(tmp_path):
    root, reports = make_mimic(tmp_path)
    data = MimicCxrDataModule(str(root), str(reports), views=["PA"], **SHARED)
    data.setup("fit")
    assert len(data.table("train")) == 10
    assert len(data.table("validate")) == 2
    assert data.table("train")["text"].iat[0] == "Findings 0."
    assert set(data.table("train")["label"]) == {"Edema", "Unlabelled"}


def test_mimic_errors_name_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r"--data\.root"):
        MimicCxrDataModule(str(tmp_path), "x.csv").rows()
    root, reports = make_mimic(tmp_path)
    with pytest.raises(DataError, match="LATERAL"):
        MimicCxrDataModule(str(root), str(reports), views=["XX"]).rows()


def test_search_trains_on_other_subjects(folder):
    parts = {}
    for part in ("train", "search"):
        data = ImageFolderDataModule(str(folder), search_fraction=0.5, train_on=part, **SHARED)
        data.setup("fit")
        parts[part] = {split: set(data.table(split)["subject_id"]) for split in ("train", "validate", "test")}
    whole = ImageFolderDataModule(str(folder), **SHARED)
    whole.setup("fit")
    assert not parts["train"]["train"] & parts["search"]["train"]
    assert parts["train"]["train"] | parts["search"]["train"] == set(whole.table("train")["subject_id"])
    assert parts["train"]["test"] == parts["search"]["test"] == set(whole.table("test")["subject_id"])
    with pytest.raises(DataError, match="above 0 to train on `search`"):
        ImageFolderDataModule(str(folder), train_on="search", **SHARED)


def test_patients_of_a_table_are_left_out_and_no_other_moves(folder, tmp_path, caplog):
    whole = ImageFolderDataModule(str(folder), **SHARED)
    whole.setup("fit")
    table = pd.DataFrame({"model": "run", "rank": [1, 2], "patient": ["3", "7"]})
    table.to_csv(tmp_path / "leaking.csv", index=False)
    caplog.set_level("INFO", logger="memcontrol")
    data = ImageFolderDataModule(str(folder), exclude=str(tmp_path / "leaking.csv"), **SHARED)
    data.setup("fit")
    assert "4 images of 2 patients are left out, as leaking.csv says" in caplog.text
    left = {s for split in ("train", "validate", "test") for s in data.table(split)["subject_id"]}
    assert left == {str(i) for i in range(15)} - {"3", "7"}
    for split in ("train", "validate", "test"):  # all others stay where they were
        assert set(data.table(split)["subject_id"]) == set(whole.table(split)["subject_id"]) - {"3", "7"}
    table.assign(patient=["x", "y"]).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(DataError, match="none of whom is among the 15"):
        ImageFolderDataModule(str(folder), exclude=str(tmp_path / "other.csv"), **SHARED).setup("fit")
    table[["model"]].to_csv(tmp_path / "no.csv", index=False)
    with pytest.raises(DataError, match="neither `patient` nor `subject_id`"):
        ImageFolderDataModule(str(folder), exclude=str(tmp_path / "no.csv"), **SHARED).setup("fit")


def test_a_sheet_of_ours_that_names_patients_is_read_back(tmp_path):
    """A spreadsheet computes nothing that a cell says, so some ids stand there with a mark before them."""
    write_sheet(pd.DataFrame({"patient": ["-A1", "@b", "+c", "007"]}), tmp_path / "leaking.csv")
    assert {"-A1", "@b", "+c", "007"} <= excluded_patients(tmp_path / "leaking.csv")


def test_ids_of_mimic_lead_nowhere_else(tmp_path):
    root, reports = make_mimic(tmp_path)
    for name in ("split", "metadata"):
        path = root / f"mimic-cxr-2.0.0-{name}.csv.gz"
        pd.read_csv(path).replace("00000003-aaaap", "../../../../../secret").to_csv(path, index=False)
    with pytest.raises(DataError, match="1 rows whose `dicom_id` is none of MIMIC-CXR's"):
        MimicCxrDataModule(str(root), str(reports), **SHARED).rows()


def test_what_could_not_be_read_is_looked_at_again(tmp_path, monkeypatch):
    from memcontrol.data.check import check_rows
    from memcontrol.data.readers import FileReader

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)).save(tmp_path / "a.png")
    table = pd.DataFrame({"path": [str(tmp_path / "a.png")], "text": ["x"], "subject_id": ["p"], "split": ["train"]})
    ledger, real = tmp_path / "verdicts.sqlite", FileReader.look

    def fails(error):
        def look(self, path):
            raise error

        monkeypatch.setattr(FileReader, "look", look)

    fails(OSError("input/output error"))  # of a network drive, say
    assert check_rows(table, FileReader(), ledger)[0]["problem"].tolist() == ["unreadable image"]
    fails(DataError("Reading this needs an extra."))
    with pytest.raises(DataError, match="needs an extra"):
        check_rows(table, FileReader(), ledger)
    monkeypatch.setattr(FileReader, "look", real)
    assert check_rows(table, FileReader(), ledger)[0]["problem"].tolist() == [""]
    fails(OSError("gone"))
    assert check_rows(table, FileReader(), ledger)[0]["problem"].tolist() == [""]  # what was good is remembered
