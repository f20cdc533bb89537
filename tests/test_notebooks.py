"""The notebooks run from their first cell to their last."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"


def run(name, monkeypatch, tmp_path, **changes):
    """Run a notebook's cells in a folder, with some of its numbers changed, and return what it has defined."""
    monkeypatch.chdir(tmp_path)
    cells = json.loads((NOTEBOOKS / name).read_text())["cells"]
    known = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            code = "".join(cell["source"])
            for option, value in changes.items():
                code = re.sub(rf"\b{option}( ?= ?)[^,\n)]+", lambda m, v=value: f"{m[0].split('=')[0]}={v}", code)
            exec(compile(code, name, "exec"), known)
    return known


@pytest.mark.whole
def test_phantoms(monkeypatch, tmp_path):
    found = run("phantoms.ipynb", monkeypatch, tmp_path, max_steps=4, num_images=8, num_probes=16, steps=1,
                num_subjects=80, num_inference_steps=1)  # fmt: skip
    assert set(found["scores"].table["measure"]) == {"membership_calibrated", "heldout_loss", "kid"}
    assert (tmp_path / "runs" / "notebook-audit" / "report.html").is_file()
    assert found["picture"].size == (64, 64)
    assert "<table>" in found["run"]._repr_html_() + found["audit"]._repr_html_()


@pytest.mark.whole
def test_your_own_xrays(monkeypatch, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rows = []
    for i in range(80):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append({"file_name": f"{i}.png", "text": f"CXR PA {i}", "subject_id": f"p{i}"})
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)
    quick = (
        "mc.AuditOptions(scoring=mc.ScoringOptions(num_images=8, num_probes=8, draws=1, attacks=False), "
        "extraction=type(mc.AuditOptions().extraction)(prompts=0))"
    )
    found = run("your_xrays.ipynb", monkeypatch, tmp_path, FOLDER=repr(str(folder)), BASE="'embedded'", SIZE=64,
    STEPS=2,
                steps=1, num_inference_steps=1, output=f"'audit', options={quick}")  # fmt: skip
    assert (tmp_path / "audit" / "report.html").is_file()
    assert found["audit"].verdicts
