"""The ranked list names the patients that a model knows, first, and nobody but its owner may read it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from memcontrol.audit.attack import Extraction
from memcontrol.audit.patients import patients_at_risk, risk_by_group, write_patients
from memcontrol.measures import MEASURES, Evidence, Sampled, Samples, Scene
from memcontrol.measures.copies import Match
from memcontrol.measures.probes import Probed


class Real:
    """Thirty training patients with two images each, and sixty held-out ones."""

    data = SimpleNamespace(
        table=lambda split: pd.DataFrame({"label": [f"finding {i % 3}" for i in range(60)]}),
        memorized_rows=lambda: np.array([10]),
    )

    def subjects(self, split):
        return [f"p{i // 2:02d}" for i in range(60)] if split == "train" else [f"h{i}" for i in range(60)]

    def match(self, features):
        return Match(torch.tensor([0.9, 0.95]), torch.tensor([2, 2]))


@pytest.fixture(params=[True])
def ranked(request):
    rng = torch.Generator().manual_seed(0)
    losses = [torch.rand(60, 4, generator=rng) + 1 for _ in range(4)]
    losses[2][14:16] = 0.05  # both images of patient p07
    needs = MEASURES["membership_calibrated"].needs
    sides = [[f"p{i // 2:02d}" for i in range(60)], [f"h{i}" for i in range(60)]]
    before, after = (
        Evidence({need: Probed(list(range(60)), names, x) for need, names, x in zip(needs, sides, pair, strict=True)})
        for pair in (losses[:2], losses[2:])
    )
    pictures = torch.zeros(2, 3, 8, 8)
    after = Evidence({**after.found, Samples("train"): Sampled([0, 1], ["p00", "p00"], pictures, pictures, pictures)})
    extraction = Extraction(60, 4, 1, [41], 0.1, {41: 0.99, 3: 0.5}, 1e-5)
    scene = Scene(Real(), SimpleNamespace(seed=0, alpha=0.01), before)
    return patients_at_risk(scene, after, extraction, request.param)


def test_the_most_exposed_come_first(ranked):
    assert ranked["patient"].tolist()[:2] == ["p20", "p07"]
    assert ranked["extracted"].tolist()[:2] == [True, False]
    assert ranked.loc[1, "chance"] < 1e-4
    assert ranked["chance"][2:].min() > 1e-3
    assert len(ranked) == 30
    by_name = ranked.set_index("patient")
    assert by_name.loc["p20", "copy"] == pytest.approx(0.99)
    assert by_name.loc["p01", "copy"] == pytest.approx(0.95)  # the larger of 0.95 and 0.5
    assert by_name["copy"].isna().sum() == 28
    assert by_name.index[by_name["repeated"]].tolist() == ["p05"]
    assert by_name.loc["p20", "label"] == "finding 1"


@pytest.mark.parametrize("ranked", [False], indirect=True)
def test_whose_picture_lies_nearest_by_chance_has_lost_nothing(ranked):
    assert not ranked["extracted"].any()
    assert ranked["patient"][0] == "p07"
    assert ranked.set_index("patient").loc["p20", "copy"] == pytest.approx(0.99)


def test_the_file_is_its_owners(tmp_path, ranked):
    write_patients({"=one": ranked, "two": ranked}, tmp_path / "leaking.csv")
    assert (tmp_path / "leaking.csv").stat().st_mode & 0o777 == 0o600
    read = pd.read_csv(tmp_path / "leaking.csv")
    assert read["model"].unique().tolist() == ["'=one", "two"]
    assert read["rank"].tolist() == [*range(1, 31), *range(1, 31)]
    assert list(read.columns[:5]) == ["model", "rank", "patient", "pseudonym", "images"]


def test_groups_are_told_and_small_ones_are_not(ranked):
    groups = risk_by_group(ranked.assign(label=["rare"] * 4 + ["often"] * 26, chance=[0.01] * 15 + [0.6] * 15))
    assert groups["group"].tolist() == ["repeated: False", "label: often"]
    assert groups["patients"].tolist() == [29, 26]
    assert groups["chance"].tolist() == [0.01 if ranked["repeated"][15:].any() else 0.6, 0.6]
