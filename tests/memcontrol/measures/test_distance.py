"""The kernel distance finding by finding, where there are enough images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from memcontrol.measures import Evidence, Sampled, Samples, Scene, ScoringOptions
from memcontrol.measures.distance import KIDByFinding
from memcontrol.measures.functional.kernel import kernel_distance

HELD = {"Edema": 20, "Effusion": 16, "Fracture": 15, "Hernia": 16}
DRAWN = {"Edema": 16, "Effusion": 19, "Fracture": 17, "Hernia": 15}


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    labels = rng.permutation([label for label, count in HELD.items() for _ in range(count)])
    table = pd.DataFrame({"label": labels})
    features = torch.from_numpy(rng.normal(size=(len(labels), 6)))
    subjects = [f"p{i}" for i in range(len(labels))]
    data = SimpleNamespace(table={"validate": table}.__getitem__)
    real = SimpleNamespace(
        data=data, heldout=features, heldout_split="validate", subjects={"validate": subjects}.__getitem__
    )
    return Scene(real, ScoringOptions())


@pytest.fixture
def evidence(scene):
    labels, rng = scene.real.data.table("validate")["label"].to_numpy(), np.random.default_rng(1)
    rows = [int(r) for label, count in DRAWN.items() for r in rng.choice(np.flatnonzero(labels == label), count)]
    features = torch.from_numpy(rng.normal(0.3, 1, size=(len(rows), 6)))
    nothing = torch.empty(0)
    sampled = Sampled(rows, [f"p{row}" for row in rows], nothing, features, nothing)
    return Evidence({Samples("heldout"): sampled})


def test_one_distance_for_each_finding_with_enough_images(scene, evidence):
    found = {m.name: m for m in KIDByFinding().measure(evidence, scene, None)}
    assert list(found) == ["kid/Edema", "kid/Effusion"]  # 15 of 16 of the others on one side
    labels = scene.real.data.table("validate")["label"].to_numpy()
    sampled = evidence[Samples("heldout")]
    for label in ("Edema", "Effusion"):
        mine = sampled.features[[i for i, row in enumerate(sampled.rows) if labels[row] == label]]
        expected = kernel_distance(mine, scene.real.heldout[labels == label])
        measurement = found[f"kid/{label}"]
        assert measurement.value.value == pytest.approx(expected, rel=1e-6)
        assert measurement.value.low < expected < measurement.value.high
        assert measurement.note == f"{DRAWN[label]} drawn, {HELD[label]} real"
        assert not measurement.higher_is_better


def test_none_without_labels(scene, evidence):
    scene.real.data.table = {"validate": pd.DataFrame({"text": ["a"] * sum(HELD.values())})}.__getitem__
    assert KIDByFinding().measure(evidence, scene, None) == []
