"""Which patients are at risk: for the owner of the data, and nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from memcontrol.audit.attack import Extraction
from memcontrol.audit.pseudonyms import pseudonym
from memcontrol.files.atomic import replacing
from memcontrol.files.sheet import write_sheet
from memcontrol.measures import MEASURES, Evidence, Samples, Scene
from memcontrol.measures.statistics.tails import by_patient, p_beyond

__all__ = ["patients_at_risk", "risk_by_group", "write_patients"]

TOLD: Final = ("label", "view", "sex", "age")
"""Columns of the data's table that are shown, where it has them."""
FEWEST: Final = 5
"""Patients of a group that is shown: fewer would be told who is meant."""


def patients_at_risk(
    scene: Scene, evidence: Evidence, extraction: Extraction | None, beyond_chance: bool
) -> pd.DataFrame:
    """Rank the training patients by the strongest evidence that the model knows them.

    Args:
        scene: Real images, options, and the base's evidence.
        evidence: What the model sampled and how it scored images.
        extraction: Outcome of the extraction attack.
        beyond_chance: Whether its test found a leak; of a model that knows nobody, some picture lies nearest, too.

    Returns:
        One row per training patient, the most exposed first: `patient`, `pseudonym` (in the report), `images`,
        `repeated` (whether some are, on purpose), `chance` (how often a held-out patient's loss would fall as far, in
        (0, 1]; lower is worse), `copy` (agreement of the most similar picture with the patient's images, in [-1, 1];
        higher is worse), `extracted` (whether the extraction attack gave an image away, beyond chance), and what the
        table tells of the first image.
    """
    real = scene.real
    table, subjects = real.data.table("train"), np.asarray(real.subjects("train"))
    names, first, counts = np.unique(subjects, return_index=True, return_counts=True)
    found = pd.DataFrame({"patient": names, "pseudonym": [pseudonym(name) for name in names], "images": counts})
    repeated = set(subjects[real.data.memorized_rows()])
    found["repeated"] = [name in repeated for name in names]
    found["chance"] = _chances(scene, evidence).reindex(names).to_numpy()
    found["copy"] = _copies(scene, evidence, extraction).reindex(names).to_numpy()
    given_away = {subjects[row] for row in extraction.extracted} if extraction and beyond_chance else set()
    found["extracted"] = [name in given_away for name in names]
    for column in TOLD:
        if column in table:
            found[column] = table[column].to_numpy()[first]
    ranked = found.sort_values(["extracted", "chance", "copy", "patient"], ascending=[False, True, False, True])
    return ranked.reset_index(drop=True)


def risk_by_group(ranked: pd.DataFrame) -> pd.DataFrame:
    """Tell which groups of patients are more exposed than others.

    Args:
        ranked: As `patients_at_risk` returns it.

    Returns:
        One row per group of at least five patients, the most exposed first: `group`, `patients`, `chance` (the median;
        0.5 if the model knew none of them, lower is worse) and `extracted` (how many).
    """
    rows = []
    for column in ("repeated", "images", *TOLD):
        if column not in ranked or ranked[column].nunique() < 2:
            continue
        for value, group in ranked.groupby(column):
            if len(group) >= FEWEST:
                about = {"group": f"{column}: {value}", "patients": len(group), "chance": group["chance"].median()}
                rows.append({**about, "extracted": int(group["extracted"].sum())})
    found = pd.DataFrame(rows, columns=["group", "patients", "chance", "extracted"])
    return found.sort_values("chance", ignore_index=True)


def write_patients(tables: dict[str, pd.DataFrame], path: Path) -> None:
    """Write the ranked patients of each audited model, by its name, for the owner's eyes only."""
    rows = pd.concat([table.assign(model=name, rank=range(1, len(table) + 1)) for name, table in tables.items()])
    with replacing(path) as partial:
        partial.touch(mode=0o600)
        partial.chmod(0o600)
        write_sheet(rows[["model", "rank", *(c for c in rows if c not in ("model", "rank"))]], partial)


def _chances(scene: Scene, evidence: Evidence) -> pd.Series:
    """Return how often a held-out patient's calibrated score would be as high."""
    measure = MEASURES["membership_calibrated"]
    values = measure.values(evidence, scene) if evidence.holds(measure.needs) else None
    if values is None or values.outside is None:
        return pd.Series(dtype=float)
    names, scores = by_patient(values.inside.numpy(), values.patients)
    _, null = by_patient(values.outside.numpy(), values.outside_patients)
    return pd.Series(p_beyond(scores, null), index=names)


def _copies(scene: Scene, evidence: Evidence, extraction: Extraction | None) -> pd.Series:
    """Return the largest agreement of a picture with an image of each patient that some picture is most like."""
    real, sampled = scene.real, evidence[Samples("train")]
    subjects, match = np.asarray(real.subjects("train")), real.match(sampled.copy_features)
    rows, values = match.row.tolist(), match.similarity.tolist()
    if extraction:
        rows, values = [*rows, *extraction.agreement], [*values, *extraction.agreement.values()]
    return pd.Series(values, index=subjects[rows]).groupby(level=0).max()
