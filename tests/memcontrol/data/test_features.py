"""Pictures from elsewhere are read as training images are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from memcontrol.data.cache import CacheOptions
from memcontrol.data.features import file_pixels, split_pixels
from memcontrol.data.imagefolder import ImageFolderDataModule
from memcontrol.data.images import Transform
from memcontrol.errors import DataError


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_a_picture_is_read_one_way(tmp_path, fit):
    for i in range(12):
        values = np.random.default_rng(i).integers(0, 4096, (192, 256), dtype=np.uint16)
        Image.fromarray(values if i % 2 else (values // 16).astype(np.uint8)).save(tmp_path / f"{i}.png")
    names = [f"{i}.png" for i in range(12)]
    pd.DataFrame({"file_name": names, "text": "x", "subject_id": range(12)}).to_csv(
        tmp_path / "metadata.csv", index=False
    )
    transform = Transform(size=64, fit=fit)
    data = ImageFolderDataModule(str(tmp_path), transform=transform, cache=CacheOptions(enabled=False))
    data.setup("fit")
    trained = split_pixels(data, "train", list(range(len(data.table("train")))))
    assert torch.equal(file_pixels(data.table("train")["path"].tolist(), transform), trained)
    if fit != "pad":
        assert float(trained.mean()) == pytest.approx(0.5, abs=0.02)  # 12 bits in 16 come out neither black nor white


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(DataError, match=r"1 of 1 pictures cannot be used, .*x.png': unreadable image"):
        file_pixels([str(tmp_path / "x.png")], Transform(size=32))
