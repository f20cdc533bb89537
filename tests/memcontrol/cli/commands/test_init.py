"""From a folder to a config that runs."""

from __future__ import annotations

import re
import shutil
import tarfile

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from memcontrol.cli import main
from memcontrol.cli.main import build
from tests.memcontrol.data.test_archives import add, picture, png
from tests.memcontrol.data.test_dicom import write_dicom
from tests.memcontrol.data.test_reports import write_reports
from tests.memcontrol.data.test_sources import make_mimic


def table_of(number=60):
    return pd.DataFrame(
        {
            "file_name": [f"{i}.png" for i in range(number)],
            "text": [f"image {i} " + "word " * (40 if i == 7 else 3) for i in range(number)],
            "subject_id": [i // 2 for i in range(number)],
        }
    )


def with_table(root):
    for i in range(60):
        picture(i).save(root / f"{i}.png")
    table_of().to_csv(root / "metadata.csv", index=False)
    return []


def with_other_table(root):
    with_table(root)
    (root / "metadata.csv").unlink()
    table_of().rename(columns={"subject_id": "pid"}).to_excel(root / "xrays.xlsx", index=False)
    return ["--patients", "pid"]


def with_text_files(root):
    for i in range(60):
        (root / f"p{i // 2}").mkdir(exist_ok=True)
        picture(i).save(root / f"p{i // 2}" / f"{i}.png")
        (root / f"p{i // 2}" / f"{i}.txt").write_text(f"image {i}")
    return ["--patients=folder"]


def with_dicom(root):
    rng = np.random.default_rng(0)
    for i in range(60):
        write_dicom(root / f"IM{i:04d}", rng.integers(0, 4096, (32, 32), dtype=np.uint16), patient=f"P{i // 2}")
    return ["--caption", "chest X-ray"]


def with_shards(root):
    with tarfile.open(root / "xrays-0.tar", "w") as archive:
        for i in range(60):
            add(archive, f"{i}.png", png(i))
            add(archive, f"{i}.json", f'{{"subject_id": {i // 2}, "text": "image {i}"}}'.encode())
    return []


def with_datasets(root):
    rows = {"xray": [picture(i) for i in range(60)], "text": [f"image {i}" for i in range(60)]}
    rows["who"] = [i // 2 for i in range(60)]
    datasets.Dataset.from_dict(rows).cast_column("xray", datasets.Image()).save_to_disk(root)
    return ["--patients", "who"]


def with_mimic(root):
    make_mimic(root, num_studies=48, num_held=24)
    (root / "mimic_cxr_sectioned.csv").unlink()
    write_reports(root, "zip", number=48)
    return []


FOLDERS = [with_table, with_other_table, with_text_files, with_dicom, with_shards, with_datasets, with_mimic]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def initialised(root, *more):
    main(["init", str(root), "--base=embedded", "--copies_among=40", *more])


@pytest.mark.parametrize("make", FOLDERS, ids=lambda make: make.__name__)
def test_the_config_of_each_kind_of_folder_runs(make, tmp_path, capsys):
    root = tmp_path / "mine"
    root.mkdir()
    initialised(root, *make(root))
    said = capsys.readouterr().out
    assert "Near-duplicates" in said
    assert "images of" in said
    page = (tmp_path / "mine.html").read_text()
    assert "What an audit will be able to find" in page
    assert not [part for part in (str(tmp_path), "image 1", ".png", ".dcm") if part in page.split("<script>")[0]]
    cli = build(["--config", "mine.yaml", "--trainer.accelerator=cpu", f"--data.cache.folder={tmp_path / 'cache'}"])
    cli.datamodule.setup("fit")
    assert str(len(cli.datamodule.table("train"))) in said
    assert cli.model.adapter.r == 4


def test_a_run_of_it_trains(tmp_path):
    root = tmp_path / "mine"
    root.mkdir()
    initialised(root, *with_table(root))
    steps = [
        "--trainer.max_steps=2",
        "--trainer.val_check_interval=2",
        "--model.sampling.steps=1",
        "--data.batch_size=2",
    ]
    main(["fit", "--config", "mine.yaml", *steps, "--trainer.accelerator=cpu", f"--data.cache.folder={tmp_path / 'c'}"])
    assert (tmp_path / "runs/mine/version_0/adapter/README.md").is_file()


def test_what_is_wrong_with_the_data_is_said(tmp_path, capsys):
    root = tmp_path / "mine"
    root.mkdir()
    with_table(root)
    shutil.copy(root / "4.png", root / "40.png")  # another patient's, and in another split perhaps
    Image.open(root / "8.png").rotate(2).save(root / "9.png")  # the same patient's
    (root / "11.png").write_bytes(b"no image")
    initialised(root, "--copies_among=60")
    said = capsys.readouterr().out
    assert "unreadable image" in said
    assert "groups, 1 of them under several patients" in said or "the same image in two splits" in said
    assert "so 1 of them is cut" in said
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["data"]["init_args"]["on_bad_row"] == "skip"
    assert "needs at least 20 of each" in said


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["file_name", "text"], "name no patient"),
        (["file_name", "text", "mrn"], r"'mrn' \(30 values\) name several rows alike.*--patients COLUMN"),
    ],
)
def test_without_patients_it_asks(columns, said, tmp_path, capsys):
    root = tmp_path / "mine"
    root.mkdir()
    with_table(root)
    table_of().rename(columns={"subject_id": "mrn"})[columns].to_csv(root / "metadata.csv", index=False)
    with pytest.raises(SystemExit):
        initialised(root)

    assert re.search(said, capsys.readouterr().err)
    initialised(root, "--patients=none")
    assert "each image counts as another one" in capsys.readouterr().out


def test_a_config_is_not_written_over(tmp_path, capsys):
    root = tmp_path / "mine"
    root.mkdir()
    with_table(root)
    (tmp_path / "mine.yaml").write_text("mine: 1\n")
    with pytest.raises(SystemExit):
        initialised(root)
    assert "which exists" in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").read_text() == "mine: 1\n"


def test_folders_with_nothing_to_read_are_refused_by_name(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name, said in (("empty", "there are no images"), ("absent", "is none")):
        with pytest.raises(SystemExit):
            initialised(tmp_path / name)
        assert said in capsys.readouterr().err
