"""Readers of our own formats: whatever a file holds, it is read or refused with an error of ours."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memcontrol.compare.methods import methods_of
from memcontrol.compare.options import CompareOptions
from memcontrol.data.tables import read_table
from memcontrol.errors import MemControlError
from memcontrol.files.card import Card
from memcontrol.files.journal import Journal
from memcontrol.masks import Mask
from memcontrol.plain import read_mapping
from memcontrol.search.records import read_trials

NAMES = ("a.0", "a.1", "b")
FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"
CARD = json.loads((FIXTURES / "run" / "adapter" / "memcontrol.json").read_text())
LINES = (FIXTURES / "study" / "journal.jsonl").read_text().splitlines()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
often = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


@often
@given(content=st.binary(max_size=200) | st.text(max_size=200))
def test_bytes(tmp_path, content):
    for name in ("x.yaml", "x.json"):
        with suppress(MemControlError):
            assert isinstance(read_mapping(written(tmp_path, name, content), MemControlError), dict)
    for name in ("x.csv", "x.jsonl", "x.json", "x.parquet", "x.xlsx", "x.tsv", "x.csv.gz"):
        with suppress(MemControlError):
            read_table(written(tmp_path, name, content), "table")


@often
@given(mask=VALUES)
def test_masks(tmp_path, mask):
    path = written(tmp_path, "mask.yaml", yaml.safe_dump({"mask": mask}))
    with suppress(MemControlError):
        assert set(Mask.parse(str(path), "block", NAMES).bits) <= {0, 1}


@often
@given(field=st.sampled_from(sorted(CARD)), value=VALUES)
def test_cards(field, value):
    with suppress(MemControlError):
        card = Card.from_dict({**CARD, field: value}, Path("x"))
        assert card.image_size % 8 == 0
        assert len(card.mask["bits"]) == len(card.mask["names"])


@often
@given(number=st.integers(0, len(LINES) - 1), data=st.data(), value=VALUES)
def test_journals(tmp_path, number, data, value):
    event = json.loads(LINES[number])
    event[data.draw(st.sampled_from(sorted(event)))] = value
    lines = [*LINES[:number], json.dumps(event), *LINES[number + 1 :]]
    path = written(tmp_path, "journal.jsonl", "\n".join(lines) + "\n")
    with suppress(MemControlError):
        read_trials(Journal(path))


@often
@given(model=VALUES, mask=VALUES, factor=VALUES)
def test_overlays(tmp_path, model, mask, factor):
    path = written(tmp_path, "mine.yaml", f"# lr_factor: {factor}\n" + yaml.safe_dump({"model": model}))
    study = written(tmp_path, "best.yaml", yaml.safe_dump({"model": {"mask": mask}}))
    for found in ({}, {"mine": str(study)}):
        with suppress(MemControlError):
            methods = methods_of(CompareOptions(methods=[str(path)], found=found), tmp_path / "made")
            assert [method.name for method in methods[:2]] == ["base", "mine"]
            assert methods[1].lr_factor > 0
