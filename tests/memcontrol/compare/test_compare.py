"""The small comparison runs, goes on, and is made again from its evidence alone."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from memcontrol.cli import main
from memcontrol.compare.cells import choose
from memcontrol.compare.claims import Row, judge_claims
from memcontrol.search.journal import Journal
from memcontrol.search.records import Point


def arguments(folder, methods, evidence):
    return [
        "compare", "--config=compare/smoke.yaml", f"--compare.folder={folder}", f"--compare.evidence={evidence}",
        f"--compare.methods=[{methods}]", f"--data.cache.folder={folder.parent / 'cache'}", "--trainer.max_steps=2",
        "--trainer.val_check_interval=1", "--compare.threads=1",
    ]  # fmt: skip


def events(folder, kind):
    return [e for e in Journal(folder / "journal.jsonl").events() if e["event"] == kind]


def test_smoke(tmp_path):
    methods, folder, evidence = tmp_path / "methods", tmp_path / "compare", tmp_path / "evidence"
    methods.mkdir()
    (methods / "svdiff.yaml").write_text("model: {adapter: {class_path: memcontrol.adapters.SVDiffConfig}}\n")
    main(arguments(folder, methods, evidence))
    assert {p.stem for p in evidence.glob("*.json")} == {"base-seed0", "svdiff-seed0"}
    (methods / "mine.yaml").write_text("model: {adapter: {class_path: peft.LoraConfig, init_args: {r: 2}}}\n")
    main(arguments(folder, methods, evidence))
    assert len(events(folder, "run")) == 2  # one of each method: nothing was trained twice
    table = pd.read_csv(folder / "table.csv")
    assert set(table["method"]) == {"base", "svdiff", "mine"}
    assert (folder / "tradeoff.png").stat().st_size > 5000
    record = json.loads((evidence / "mine-seed0.json").read_text())
    assert len(record["images"]["member_loss"]) == len(record["images"]["member_patient"])
    assert "radiograph" not in json.dumps(record)
    clone = tmp_path / "clone"
    main(arguments(clone, methods, evidence))
    assert not events(clone, "run")
    assert pd.read_csv(clone / "table.csv").equals(table)


def row(method, trained, auc, kid, error=0.01):
    values = {"membership_auc": auc, "kid": kid}
    errors = {"membership_auc": error, "kid": error}
    return Row(method, 3, trained, values, errors, {}, {"membership_auc": False, "kid": False})


ROWS = [
    row("base", 0, 0.5, 3.0),
    row("svdiff", 15, 0.6, 1.0),
    row("svdiff_found", 10, 0.52, 0.98),
    row("svdiff_random1", 10, 0.58, 1.1),
    row("lora", 60, 0.7, 0.9),
    row("full", 900, 0.95, 0.99),
]


def test_claims_that_hold():
    found = {c.number: c for c in judge_claims(ROWS, "membership_auc", "kid", 0.1)}
    assert found[1].verdict == found[2].verdict == found[3].verdict == "holds"
    assert found[5].verdict == "undecided at this n"


def test_claims_that_fail():
    rows = [*ROWS[:2], row("svdiff_found", 10, 0.9, 1.5), *ROWS[3:]]
    found = {c.number: c for c in judge_claims(rows, "membership_auc", "kid", 0.1)}
    assert found[3].verdict == "does not hold"


@pytest.mark.parametrize(("margin", "expected"), [(0.1, 2), (0.0, 1)])
def test_rule_of_selection(margin, expected):
    points = [Point(1, (-0.9, -1.0)), Point(2, (-0.6, -1.05)), Point(3, (-0.5, -2.0))]
    assert choose([(1e-3, p) for p in points], margin)[1].step == expected
