"""What a verdict promises: how rarely it is wrong, and what it would have found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.nn.functional import normalize

from memcontrol.audit.exchangeability import Exchangeability, exchangeability
from memcontrol.audit.run import FOLDERS
from memcontrol.audit.sources import Source, named
from memcontrol.audit.verdict import Patients, judge
from memcontrol.errors import DivergedError, RewardError
from memcontrol.measures import MEASURES, Evidence, Measurement, Sampled, Samples, Scene
from memcontrol.measures.aggregators import GroupAUC, Values
from memcontrol.measures.copies import Match
from memcontrol.measures.forecast import forecast
from memcontrol.measures.probes import LossProbe, Probed
from memcontrol.measures.score import refuse_what_is_not_finite
from memcontrol.measures.statistics import permutation
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.measures.statistics.power import detectable_share
from memcontrol.measures.statistics.pvalues import p_exceed, rank_of


@pytest.mark.parametrize(("n", "k", "rank", "level"), [(100, 30, 1, 0.01), (200, 90, 1, 0.00125), (300, 400, 4, 0.01)])
def test_the_share_that_is_promised_is_found(n, k, rank, level):
    """As many copies as the verdict names are found in about 80 % of audits."""
    share = detectable_share(n, [(k, rank)], level)
    found = 0
    for number in range(400):
        rng = np.random.default_rng(number)
        drawn = torch.from_numpy(np.where(rng.random(n) < share, 99.0, rng.normal(size=n)))
        calibration = torch.from_numpy(rng.normal(size=k))
        names = [str(i) for i in range(max(n, k))]
        found += p_exceed(drawn, names[:n], calibration, names[:k], rank) < level
    assert 0.72 <= found / 400 <= 0.88


@pytest.mark.parametrize(("n", "k", "c"), [(80, 30, 60), (200, 200, 200)])
def test_the_share_that_a_verdict_promises_is_found_by_all_tests_of_copies(n, k, c, monkeypatch):
    """Beside held-out images, what is drawn for their prompts, and the base, which draws as many strays."""
    monkeypatch.setattr(permutation, "LABELINGS", 1999)
    alpha, level, found = 0.01, 0.01 / 15, 0
    share = Patients(n, 2 * k, n, k, c, beside_base=True).detectable(alpha, level)
    names, calibrating, controls = (
        [f"{part}{i}" for i in range(size)] for part, size in (("a", n), ("b", k), ("c", c))
    )
    for number in range(200):
        rng = np.random.default_rng(number)
        calibration, control, before = (torch.from_numpy(rng.normal(size=size)) for size in (k, c, n))
        drawn = torch.from_numpy(np.where(rng.random(n) < share, 99.0, rng.normal(size=n)))
        rank = rank_of(alpha, k)
        threshold = calibration.sort().values[-rank]
        ours, base = (
            Values((x > threshold).double(), names, calibration, calibrating, x, rank, control, controls)
            for x in (drawn, before)
        )
        p = MEASURES["replication"].aggregator.summarize(ours, base, 1, number).p
        found += p is not None and p < level
    assert 0.7 <= found / 200 <= 0.9


def test_a_forecast_says_what_the_verdict_will():
    """With the numbers of a run with the default options: half of the held-out patients set the threshold."""
    expected = Patients(1000, 100, 200, 50, 100, beside_base=True).detectable(0.01, 0.01 / 15)
    assert forecast(1000, 100, True).share == expected


def test_too_few_patients_find_nothing():
    assert np.isnan(detectable_share(3, [(8, 1)], 0.001))
    assert np.isnan(detectable_share(100, [(0, 1)], 0.01))
    said = judge([], None, [], Patients(30, 30, 3, 8), None, 0.01, 0.001).details
    assert "no copies could have been noticed" in said[-1]


def test_more_pictures_of_a_patient_are_no_more_chances():
    wrong = 0
    for number in range(300):
        rng = np.random.default_rng(number)
        drawn, calibration = (torch.from_numpy(rng.normal(size=n)) for n in (500, 100))
        patients = [str(i // 10) for i in range(500)]
        wrong += p_exceed(drawn, patients, calibration, [str(i) for i in range(100)], 1) < 0.01
    assert wrong / 300 <= 0.03


class Nearest:
    """Matches by the cosine."""

    def __init__(self, bank):
        self.bank = normalize(bank, dim=1)

    def match(self, queries, allowed=None):
        similarity = normalize(queries, dim=1) @ self.bank.T
        return Match(*(similarity if allowed is None else similarity.where(allowed, -1.0)).max(dim=1))


class Real:
    """Features of pictures that a caption tells half of; one picture per patient."""

    heldout_split = "test"

    def __init__(self, rng, n=150):
        self.captions = {s: rng.normal(size=(n, 16)) for s in ("train", "test")}
        images = {s: np.concatenate([c, rng.normal(size=(n, 16))], axis=1) for s, c in self.captions.items()}
        self.training, self.heldout = (torch.from_numpy(images[s]).float() for s in ("train", "test"))
        self.heldout_finder = Nearest(self.heldout)
        self.contents = [f"train {i}" for i in range(n)]
        self.data = SimpleNamespace(table=lambda split: {"content": [f"{split} {i}" for i in range(n)]})

    def subjects(self, split):
        return [f"{split} {i}" for i in range(len(self.heldout))]

    def copy_threshold(self, alpha):
        return 2.0, alpha

    def match_own(self, copy_features, subjects):
        allowed = np.asarray(subjects)[:, None] == np.asarray(self.subjects("test"))[None]
        return self.heldout_finder.match(copy_features, torch.from_numpy(allowed))

    def match(self, copy_features):
        return Nearest(self.training).match(copy_features)

    def sampled(self, split, rng):
        """What a model samples that follows captions and has seen no image."""
        captions = self.captions[split]
        features = torch.from_numpy(np.concatenate([captions, rng.normal(size=captions.shape)], axis=1)).float()
        return Sampled(list(range(len(captions))), self.subjects(split), features, features, features)


@pytest.mark.parametrize("name", ["own_prompt", "amd", "authenticity"])
def test_following_captions_is_no_leak(name):
    wrong = 0
    for number in range(20):
        rng = np.random.default_rng(number)
        real = Real(rng)
        found = {Samples(side): real.sampled(split, rng) for side, split in (("train", "train"), ("heldout", "test"))}
        scene = Scene(real, SimpleNamespace(alpha=0.01, seed=0))
        (measured,) = MEASURES[name].measure(Evidence(found), scene, None)
        wrong += measured.p < 0.01
    assert wrong <= 2


def test_what_is_no_number_is_no_acquittal():
    value = Interval(0.0, 0.0, 0.0, 10)
    broken = Measurement("noise_norm", "memorization", value, None, False, float("nan"))
    with pytest.raises(RewardError, match="noise_norm"):
        judge([broken], None, [], MANY, None, 0.01, 0.01)
    probed = Probed([0], ["a"], torch.tensor([float("nan")]))
    with pytest.raises(DivergedError, match="no finite numbers"):
        refuse_what_is_not_finite(LossProbe("train"), probed)


MANY = Patients(100, 100, 100, 50)
LEAK = [Measurement("membership_auc", "memorization", Interval(0.9, 0.8, 1.0, 50), 0.5, False, 1e-4, "", 0.05)]
WITHIN = [replace(LEAK[0], name="membership_repeated")]
CLEAN = [Measurement("membership_auc", "memorization", Interval(0.5, 0.4, 0.6, 50), 0.5, False, 0.5, "", 0.05)]


@pytest.mark.parametrize(
    ("measured", "patients", "fair", "expected"),
    [
        (LEAK, MANY, None, "leak"),
        (CLEAN, MANY, None, "none found"),
        (LEAK, Patients(19, 100, 19, 50), None, "too little"),
        (LEAK, Patients(100, 19, 100, 10), None, "too little"),
        (LEAK, MANY, Exchangeability(False, 0.8, 0.0005), "too little"),
        (LEAK, MANY, Exchangeability(False, 0.6, 0.2), "leak"),
        (WITHIN, MANY, Exchangeability(False, 0.8, 0.0005), "leak"),
        (WITHIN, Patients(19, 100, 19, 50), None, "too little"),
        (WITHIN, Patients(100, 19, 100, 10), None, "leak"),
        (LEAK, MANY, Exchangeability(True), "leak"),
    ],
)
def test_three_outcomes(measured, patients, fair, expected):
    found = judge(measured, None, [], patients, fair, 0.01, 0.01)
    assert (found.outcome, found.leaks) == (expected, expected == "leak")
    assert ("Too little to say" in found.sentence) == (expected == "too little")


def test_the_area_that_is_promised_is_found():
    """Scores that lie as far apart as the verdict names are found in about 80 % of audits."""
    names, aggregator = [str(i) for i in range(200)], GroupAUC()
    rng = np.random.default_rng(0)
    inside, outside = (torch.from_numpy(rng.normal(size=n)) for n in (64, 110))
    clean = Values(inside, names[:64], outside, names[:110])
    spread = aggregator.summarize(clean, None, 1, 0).spread
    verdict = judge([replace(CLEAN[0], spread=spread)], None, [], MANY, None, 0.01, 0.01)
    area = verdict.area
    assert f"been right {100 * area:.0f} times or more, this audit would have noticed" in verdict.details[0]
    shift, found = 2**0.5 * norm.ppf(area), 0
    for number in range(150):
        rng = np.random.default_rng(number)
        inside, outside = torch.from_numpy(rng.normal(shift, 1, 64)), torch.from_numpy(rng.normal(0, 1, 110))
        found += aggregator.summarize(Values(inside, names[:64], outside, names[:110]), None, 1, number).p < 0.01
    assert 0.68 <= found / 150 <= 0.92


class Pictures:
    """Features of training and held-out images, two of each patient."""

    heldout_split = "test"

    def __init__(self, rng, shift, patients=40):
        centres = rng.normal(size=(2, patients, 1, 24))
        centres[0, :, :, :4] += shift
        values = (centres + 0.5 * rng.normal(size=(2, patients, 2, 24))).reshape(2, -1, 24)
        self.training, self.heldout = torch.from_numpy(values).float()
        self.data = SimpleNamespace(split_at_random=False)

    def subjects(self, split):
        return [f"{split} {i // 2}" for i in range(len(self.training))]


def test_patients_that_were_split_at_random_are_alike():
    found = [exchangeability(Pictures(np.random.default_rng(seed), 0.0), None, seed).holds for seed in range(60)]
    assert found.count(False) <= 3


def test_patients_of_another_site_are_not():
    found = exchangeability(Pictures(np.random.default_rng(0), 1.0), None)
    assert not found.holds
    assert found.area > 0.8
    assert exchangeability(Pictures(np.random.default_rng(0), 0.0), None).area < 0.7


@pytest.mark.parametrize("probed", [80, 30])
def test_losses_of_the_base_tell_patients_apart_where_all_were_probed(probed):
    """Features are alike on both sides, losses are not; a side of which some were probed only is left out."""
    rng = np.random.default_rng(0)
    real = Pictures(rng, 0.0)
    subjects = [f"{i // 2}" for i in range(80)]
    low, high = (torch.from_numpy(np.exp(rng.normal(shift, 0.3, (80, 4)))) for shift in (0.0, 1.0))
    base = Evidence({
        LossProbe("train"): Probed(list(range(80)), subjects, low),
        LossProbe("heldout"): Probed(list(range(probed)), subjects[:probed], high[:probed]),
    })  # fmt: skip
    assert exchangeability(real, base).holds is (probed < 80)


def test_sources_are_told_apart():
    sources = [Source(Path("runs") / name / "version_0", "run") for name in "ab"]
    assert [source.name for source in named(sources)] == ["a/version_0", "b/version_0"]
    assert [source.name for source in named(sources[:1] * 2)] == ["a/version_0", "a/version_0"]
    assert [source.name for source in named(sources[:1])] == ["version_0"]
    other = Source(Path("runs/b/version_1"), "run")
    assert [source.name for source in named([sources[0], other])] == ["a/version_0", "b/version_1"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("--data.root=/mnt/p10000032/cxr", "--data.root=cxr"), ("audit/demo.yaml", "audit/demo.yaml"),
     ("~/runs/a", "a"), ("[/x/y.yaml,/z/w]", "[y.yaml,w]")],
)  # fmt: skip
def test_folders_of_the_machine_are_left_out(given, kept):
    assert FOLDERS.sub("", given) == kept


def test_a_quality_measure_is_no_leak():
    found = Measurement("fidelity", "quality", None, None, False, 1e-9, "")
    assert not judge([found], None, [], MANY, None, 0.01, 0.01).leaks
    leak = Measurement("membership_auc", "memorization", None, None, False, 1e-9, "")
    assert judge([leak], None, [], MANY, None, 0.01, 0.01).leaks
