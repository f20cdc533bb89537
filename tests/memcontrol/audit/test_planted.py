"""Planted truth: the detector that audits use by default finds copies and leaves clean sets alone."""

from __future__ import annotations

import pytest

from memcontrol.audit.changes import KINDS
from memcontrol.audit.planted import AuditsDetector, clean_sets, found_shares, mixed_sets, planted
from memcontrol.data.cache import CacheOptions
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    found = PhantomDataModule(
        sites=["C"],
        num_subjects=400,
        images_per_subject=1,
        split_fractions=[0.1, 0.05, 0.85],
        transform=Transform(size=64),
        cache=CacheOptions(folder=str(tmp_path_factory.mktemp("cache"))),
    )
    found.setup("test")
    return found


@pytest.fixture(scope="module")
def plant(data):
    return planted(data, AuditsDetector())


@pytest.mark.whole
def test_default_detector_finds_copies(data, plant):
    shares = found_shares(data, {"audit": plant}, alpha=0.01)["audit"]
    assert shares["false alarms"] <= 0.05
    assert shares["exact"] >= 0.95
    few_details = {"crop 80 % off centre", "half", "gamma 0.6", "gamma 1.7"}  # all that phantoms have to tell these by
    asked = {kind: 0.4 if kind in few_details else 0.8 for kind in KINDS}
    assert {kind: shares[kind] for kind in KINDS if shares[kind] < asked[kind]} == {}


@pytest.mark.whole
def test_verdict_on_clean_and_mixed_sets(data, plant):
    assert clean_sets(data, plant, alpha=0.01, level=0.01) <= 2
    mixed = mixed_sets(data, plant, alpha=0.01, level=0.01, shares=(0.1,), num_sets=5)
    assert (mixed["10 %"] >= 0.8).all()
