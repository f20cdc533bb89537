"""`plant` tells how many images there are, and what of planted copies is found."""

from __future__ import annotations

import re

from memcontrol.audit.planted import KINDS
from memcontrol.cli.commands.plant import plant
from memcontrol.data.cache import CacheOptions
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.measures.encoders import ThumbnailEncoder


def test_plant(tmp_path):
    data = PhantomDataModule(
        num_subjects=40,
        images_per_subject=1,
        split_fractions=[0.2, 0.1, 0.7],
        transform=Transform(size=32),
        cache=CacheOptions(folder=str(tmp_path)),
    )
    text = plant(data, [ThumbnailEncoder(size=32)], alpha=0.1, level=0.05)
    assert text.startswith("8 training images; 28 held-out images")
    assert "found at 10 % false alarms" in text
    header, *rows = text.split("\n\n")[1].splitlines()[1:]
    assert header.split() == ["audit", "thumbnail"]
    found = {" ".join(row.split()[:-2]): [float(share) for share in row.split()[-2:]] for row in rows}
    assert set(found) == {"false alarms", *KINDS}
    assert found["exact"] == [1.0, 1.0]
    assert max(found["false alarms"]) < 0.5
    mixed = text.split("\n\n")[2]
    assert "(audit, level 0.05)" in mixed
    assert all(re.search(rf"^{kind} +[01]\.", mixed, re.MULTILINE) for kind in KINDS)
    assert int(re.search(r"Clean sets said to leak: (\d+) of 40$", text)[1]) <= 8
