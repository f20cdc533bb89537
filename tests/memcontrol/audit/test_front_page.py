"""The first page of an audit's report: a colour that does not flatter, what was tested, and what was not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from memcontrol.audit.attack import Extraction
from memcontrol.audit.front_page import attack_classes, front_page
from memcontrol.audit.verdict import Verdict
from memcontrol.files.card import Card
from memcontrol.measures import Measurement
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.privacy import Guarantee
from memcontrol.privacy.accounting import Steps
from memcontrol.reports.page import write_page

ABOUT = {
    "date": "2026-11-30T10:00:00+00:00",
    "versions": {"memcontrol": "0.2.0"},
    "training_patients": 89,
    "training_images": 150,
    "heldout_patients": 60,
    "heldout_images": 110,
}


def card() -> Card:
    mask = {"layout": "parts", "names": ["a", "b"], "bits": [1, 0]}
    return Card(
        base="/storage/models/xray-sd", base_fingerprint="abc", random_init=False, seed=0,
        adapter={"peft_type": "LORA", "r": 4}, mask=mask, image_size=64, step=150, version="0.2.0",
        training_set="d1635", trained=500, parameters=10_000,
    )  # fmt: skip


def audited(outcome="none found", detectable=0.08, adjusted=None, extracted=()):
    measurements = [
        Measurement("membership_calibrated", "memorization", Interval(0.72, 0.6, 0.8, 89), 0.5, False, p=1e-6),
        Measurement("replication", "memorization", Interval(0.0, 0.0, 0.1, 89), 0.0, False, p=1.0),
    ]
    adjusted = {"membership_calibrated": 0.4, "replication": 1.0, "extraction": 1.0, **(adjusted or {})}
    ranked = pd.DataFrame(
        {"patient": ["p1", "p2"], "chance": [0.004, 0.5], "extracted": [False, False], "copy": [0.1, 0]}
    )
    extraction = Extraction(
        screened=100,
        prompts=8,
        flagged=0,
        extracted=list(extracted),
        threshold=0.1,
        agreement={},
        p=adjusted["extraction"],
    )
    verdict = Verdict(
        outcome, "LEAK FOUND." if outcome == "leak" else "No leak found.", ["A `detail`."], adjusted, detectable
    )
    source = SimpleNamespace(name="run <b>", kind="run", card=card(), path=Path("run"))
    return SimpleNamespace(
        guarantee=None,
        used=None,
        source=source,
        measurements=measurements,
        extraction=extraction,
        verdict=verdict,
        ranked=ranked,
    )


@pytest.mark.parametrize(
    ("outcome", "detectable", "status"),
    [
        ("leak", 0.01, "leak"),
        ("none found", 0.08, "none"),
        ("none found", 0.23, "unsure"),  # 27 patients got green once
        ("none found", float("nan"), "unsure"),
        ("too little", 0.01, "unsure"),
    ],
)
def test_green_needs_power(outcome, detectable, status):
    assert audited(outcome, detectable).verdict.status == status


def test_what_was_not_tested_is_named():
    classes = {attack.name: attack for attack in attack_classes(audited(), ABOUT, 0.01)}
    assert [name for name, attack in classes.items() if not attack.ran] == [
        "membership inference with shadow models", "attribute inference", "model inversion", "reconstruction",
    ]  # fmt: skip
    assert classes["membership inference"].patients == "89 / 60"
    assert classes["membership inference"].result == "no sign of a leak (smallest p = 0.4, membership_calibrated)"
    assert classes["membership inference"].tests == 1
    assert classes["membership inference"].power == "not known"
    assert classes["regurgitation"].power == "8 % of the pictures"
    assert not any(attack.found for attack in classes.values())


def test_what_was_found_is_marked_where_it_was_found():
    found = audited("leak", adjusted={"membership_calibrated": 1e-5})
    classes = {attack.name: attack.found for attack in attack_classes(found, ABOUT, 0.01)}
    assert [name for name, is_found in classes.items() if is_found] == ["membership inference"]
    page = front_page(found, ABOUT, 0.01)
    assert page["said"] == "A leak was found"
    assert "leaking.csv" in page["next"][1]


def test_the_page_names_no_path_and_escapes_what_it_is_given(tmp_path):
    item = audited()
    shown = {
        "name": "run <b>", "kind": "run", "front": front_page(item, ABOUT, 0.01), "outcome": "none", "sentence": "<i>",
        "details": ["A `de<tail`."], "memorization": [], "quality": [], "patients": [], "groups": [], "plots": [],
        "is_blurred": True, "pairs": None, "grid": None,
    }  # fmt: skip
    around = {"differences": [], "about": [], "words": [("kid", "a <i> distance")], "level": "0.01"}
    write_page(tmp_path / "r.html", "audit.html", title="Privacy audit", audited=[shown], **around)
    text = (tmp_path / "r.html").read_text()
    trained = "LORA, 1 of 2 slots of parts, 5 % of the U-Net"
    for said in (
        "xray-sd, weights abc",
        trained,
        "<code>de&lt;tail</code>",
        "Signature",
        "none (differential privacy was not used)",
        "smallest leak that would have been noticed",
        "2026-11-30 10:00 UTC, memcontrol 0.2.0",
    ):
        assert said in text, said
    for raw in ("/storage", "<b>", "<i>", "p1"):
        assert raw not in text.replace("<b>Not tested", "").replace("<b>The patient who", ""), raw


def test_the_most_exposed_of_many_is_weighed_against_their_number():
    """One in 250 of a single patient is no find among two, and less so among a thousand."""
    item = audited()
    assert "0.4 % stand out as far. But 2 were looked at" in front_page(item, ABOUT, 0.01)["worst"]
    assert "as much in 0.8 % of audits. That is rare" in front_page(item, ABOUT, 0.01)["worst"]
    many = pd.concat([item.ranked.head(1), *[item.ranked.tail(1)] * 999])
    assert (
        "as much in 98 % of audits. So it may be chance"
        in front_page(SimpleNamespace(**{**vars(item), "ranked": many}), ABOUT, 0.01)["worst"]
    )


def test_what_was_not_judged_is_not_called_nothing():
    item = audited("too little")
    item.verdict = Verdict("too little", "Too little to say.", [], {}, float("nan"))
    item.extraction = Extraction(
        screened=9, prompts=8, flagged=3, extracted=[1, 2, 3], threshold=0.1, agreement={}, p=0.5
    )
    classes = {attack.name: attack for attack in attack_classes(item, ABOUT, 0.01)}
    assert classes["membership inference"].found is None
    assert classes["exfiltration (extraction)"].found is None
    assert classes["exfiltration (extraction)"].result == (
        "pictures that kept coming back lay near 3 training images, not judged"
    )


def test_images_come_out_where_that_is_no_chance():
    by_chance, leak = (
        {
            attack.name: attack
            for attack in attack_classes(audited(adjusted={"extraction": p}, extracted=[4]), ABOUT, 0.01)
        }
        for p in (0.3, 0.001)
    )
    assert by_chance["exfiltration (extraction)"].found is False
    assert "no more than chance gives (p = 0.3)" in by_chance["exfiltration (extraction)"].result
    assert leak["exfiltration (extraction)"].found is True
    assert leak["exfiltration (extraction)"].result == "1 training images came out (p = 0.001)"


def test_a_proven_bound_stands_on_the_page():
    bound = Guarantee.of(Steps(50, 0.2, 2.0), 1e-4, 1.0, 300, 4, "pld")
    private = SimpleNamespace(**{**vars(audited()), "guarantee": bound})
    assert ("proven bound", str(bound)) in front_page(private, ABOUT, 0.01)["identity"]
    assert dict(front_page(audited(), ABOUT, 0.01)["identity"])["proven bound"].startswith("none")
