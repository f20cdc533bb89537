"""Images that lie in tar shards and in tables of `datasets`."""

from __future__ import annotations

import io
import json
import os
import tarfile

import datasets
import numpy as np
import pytest
from PIL import Image

from memcontrol.data.archives import ArrowReader
from memcontrol.data.cache import CacheOptions
from memcontrol.data.check import examine
from memcontrol.data.files import ImageFilesDataModule
from memcontrol.data.huggingface import HuggingFaceDataModule
from memcontrol.data.images import Transform, Variant
from memcontrol.data.webdataset import WebDatasetDataModule
from memcontrol.errors import DataError

SHARED = {"transform": Transform(size=32), "cache": CacheOptions(enabled=False)}
SPLITS = ("train", "validate", "test")


def picture(number: int) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8))


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    picture(number).save(buffer, "PNG")
    return buffer.getvalue()


def add(archive, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path):
    for shard in range(3):
        with tarfile.open(tmp_path / f"xrays-{shard:04d}.tar", "w") as archive:
            for number in range(10 * shard, 10 * shard + 10):
                add(archive, f"{number:04d}.png", png(number))
                add(archive, f"{number:04d}.txt", f"image {number}".encode())
                add(archive, f"{number:04d}.json", json.dumps({"subject_id": number // 2, "view": "PA"}).encode())
    return tmp_path


@pytest.fixture
def saved(tmp_path):
    rows = {
        "image": [picture(number) for number in range(30)],
        "text": [f"image {number}" for number in range(30)],
        "patient": [number // 2 for number in range(30)],
    }
    datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image()).save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def numbers_of(data) -> dict[str, int]:
    """Return the number of each image by the text that stands with it, after a look at its pixels."""
    found = {}
    for split in SPLITS:
        dataset = data.datasets[split]
        for row, text in enumerate(dataset.texts):
            number = int(text.split()[1])
            np.testing.assert_array_equal(
                np.asarray(dataset.reader.read(dataset.paths[row])), np.asarray(picture(number))
            )
            found[dataset.paths[row]] = number
    return found


def test_shards_are_read_in_any_order_from_where_they_lie(shards):
    data = WebDatasetDataModule(str(shards), where="view == 'PA'", **SHARED)
    data.setup("fit")
    assert sorted(numbers_of(data).values()) == list(range(30))
    subjects = [set(data.table(split)["subject_id"]) for split in SPLITS]
    assert sum(map(len, subjects)) == len(set.union(*subjects)) == 15


def test_shards_named_as_splits_are_splits(tmp_path):
    for name, numbers in (("train-00", range(8)), ("val-00", range(8, 12)), ("test-00", range(12, 16))):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for number in numbers:
                add(archive, f"{number}.png", png(number))
                add(archive, f"{number}.json", json.dumps({"subject_id": number, "text": f"image {number}"}).encode())
    data = WebDatasetDataModule(str(tmp_path), **SHARED)
    data.setup("fit")
    assert [len(data.table(split)) for split in SPLITS] == [8, 4, 4]


def test_a_changed_shard_is_another_image(shards):
    data = WebDatasetDataModule(str(shards), **SHARED)
    data.setup("fit")
    path = data.table("train")["path"].iat[0]
    stamp, content = data.reader.stamp(path), data.reader.content(path)
    shard = shards / path.split("/")[0]
    with tarfile.open(shard) as archive:
        members = archive.getnames()
    with tarfile.open(shard, "w") as archive:
        for name in members:
            add(archive, name, png(99) if name.endswith("png") else b"{}")
    assert data.reader.stamp(path) != stamp
    assert data.reader.content(path) != content


def test_bad_shards_are_named(shards):
    with tarfile.open(shards / "packed-0.tar", "w:gz") as archive:
        add(archive, "1.png", png(1))
    with pytest.raises(DataError, match=r"packed-0\.tar'.*must not be compressed"):
        WebDatasetDataModule(str(shards), **SHARED).rows()
    with pytest.raises(DataError, match=r"no \*\.tar in it"):
        WebDatasetDataModule(str(shards / "xrays"), **SHARED).rows()


def test_a_saved_dataset_is_read_where_it_lies(saved):
    data = HuggingFaceDataModule(str(saved), subject_column="patient", **SHARED)
    data.setup("fit")
    assert sorted(numbers_of(data).values()) == list(range(30))
    assert data.datasets["train"].pixels(0, Variant()).shape == (3, 32, 32)


def test_splits_of_a_saved_dict_are_taken(saved, tmp_path):
    whole = datasets.load_from_disk(str(saved))
    parts = {
        "train": whole.select(range(20)),
        "validation": whole.select(range(20, 26)),
        "test": whole.select(range(26, 30)),
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "parts")
    data = HuggingFaceDataModule(str(tmp_path / "parts"), subject_column="patient", **SHARED)
    data.setup("fit")
    assert [len(data.table(split)) for split in SPLITS] == [20, 6, 4]


def test_wrong_columns_are_named(saved, tmp_path):
    with pytest.raises(DataError, match=r"image_column` is 'text'"):
        HuggingFaceDataModule(str(saved), image_column="text", **SHARED).rows()
    with pytest.raises(DataError, match="no folder that `datasets` has written"):
        HuggingFaceDataModule(str(tmp_path), **SHARED).rows()


def test_a_cell_that_names_a_file_is_not_followed(tmp_path, monkeypatch):
    picture(5).save(tmp_path / "secret.png")
    table = datasets.Dataset.from_dict({"image": [{"path": str(tmp_path / "secret.png"), "bytes": None}]})
    monkeypatch.setattr("memcontrol.data.archives.open_arrow", lambda *_: {"train": table})
    reader = ArrowReader(str(tmp_path))
    assert examine("train/0", reader).problem == "unreadable image"
    with pytest.raises(OSError, match="holds no image, but the name of a file"):
        reader.bytes_of("train/0")


def test_text_files_beside_images_are_captions(tmp_path):
    for number in range(24):
        folder = tmp_path / ("train" if number < 16 else "val" if number < 20 else "test") / f"p{number // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{number}.png")
        if number != 3:
            (folder / f"{number}.txt").write_text(f"\ufeffimage {number}\n")
    with pytest.raises(DataError, match="1 x empty text"):
        ImageFilesDataModule(str(tmp_path), patients="folder", **SHARED).setup("fit")
    data = ImageFilesDataModule(str(tmp_path), patients="folder", caption="image 3", **SHARED)
    data.setup("fit")
    assert sorted(numbers_of(data).values()) == list(range(24))
    assert [len(data.table(split)) for split in SPLITS] == [16, 4, 4]
    assert set(data.table("test")["subject_id"]) == {"p10", "p11"}


def test_what_a_name_begins_with_is_the_patient(tmp_path):
    for number in range(12):
        picture(number).save(tmp_path / f"pat{number // 3}_{number}.png")
    data = ImageFilesDataModule(
        str(tmp_path), patients="name", caption="x", split_fractions=[0.5, 0.25, 0.25], **SHARED
    )
    data.setup("fit")
    assert {s for split in SPLITS for s in data.table(split)["subject_id"]} == {"pat0", "pat1", "pat2", "pat3"}
    with pytest.raises(DataError, match="name no subject"):
        ImageFilesDataModule(str(tmp_path), caption="x", **SHARED).setup("fit")


def test_what_links_lead_to_is_no_caption(tmp_path):
    (tmp_path / "secret.key").write_text("TOP SECRET")
    root = tmp_path / "images"
    root.mkdir()
    for number in range(8):
        picture(number).save(root / f"p{number}_1.png")
        (root / f"p{number}_1.txt").symlink_to(tmp_path / "secret.key")
    table = ImageFilesDataModule(str(root), patients="name", caption="x", **SHARED).rows()
    assert set(table["text"]) == {"x"}


def test_a_pipe_is_refused_and_not_waited_for(saved, tmp_path):
    os.mkfifo(tmp_path / "train-0.tar")
    with pytest.raises(DataError, match="is no file"):
        WebDatasetDataModule(str(tmp_path), **SHARED).rows()
    os.mkfifo(saved / "data.arrow")
    with pytest.raises(DataError, match=r"'data\.arrow' is no file"):
        HuggingFaceDataModule(str(saved), subject_column="patient", **SHARED).rows()


def test_tables_that_lie_elsewhere_are_refused_and_formats_do_not_matter(saved, tmp_path):
    whole = datasets.load_from_disk(str(saved))
    whole.with_format("numpy", columns=["text"]).save_to_disk(tmp_path / "formatted")
    data = HuggingFaceDataModule(str(tmp_path / "formatted"), subject_column="patient", **SHARED)
    data.setup("fit")
    assert sorted(numbers_of(data).values()) == list(range(30))
    state = json.loads((saved / "state.json").read_text())
    (tmp_path / "evil").mkdir()
    for name in ("dataset_info.json", "state.json"):
        (tmp_path / "evil" / name).write_text((saved / name).read_text())
    state["_data_files"] = [{"filename": f"../saved/{file['filename']}"} for file in state["_data_files"]]
    (tmp_path / "evil" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="whose tables lie elsewhere"):
        HuggingFaceDataModule(str(tmp_path / "evil"), subject_column="patient", **SHARED).rows()
