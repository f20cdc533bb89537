"""`steps`: do fewer sampler steps rank the same models alike?"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from diffusers import StableDiffusionPipeline
from tqdm import tqdm

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.devices import device_named
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.errors import CheckpointError, PromptError
from memcontrol.files.checkpoints import find_checkpoint
from memcontrol.files.journal import Journal
from memcontrol.files.sheet import write_sheet
from memcontrol.measures import MEASURES, RealImages, Samples, ScoredModel, ScoringOptions, score
from memcontrol.measures.probes import Probe
from memcontrol.measures.setting import setting_digest
from memcontrol.measures.statistics.agreement import AGAIN, FEWEST, FIRST, agreement
from memcontrol.pipeline import load_pipeline
from memcontrol.reports.agreement_figure import agreement_figure
from memcontrol.seeds import derive_seed

__all__ = ["compare_steps"]

log = logging.getLogger("memcontrol")

ADVISED = 20


def compare_steps(
    paths: Sequence[str],
    data: CaptionedImageDataModule,
    scoring: ScoringOptions,
    sampling: SamplingOptions,
    steps: Sequence[int],
    reference: int,
    output: Path,
    device: str,
    guidance_scale: float | None = None,
) -> pd.DataFrame:
    """Score models at several numbers of sampler steps: see `MemControlTrainer.steps`.

    Returns:
        The rank correlations: see `agreement`.

    Raises:
        CheckpointError: If there are fewer than four models, or one of them has no checkpoint.
        PromptError: If the numbers of steps make no comparison.
    """
    numbers = [*steps, reference]
    if not steps or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise PromptError(
            "Arguments `sampler_steps` (one or more) and `reference` must be different numbers of at least 1, but got "
            f"{list(steps)} and {reference}."
        )
    checkpoints = [find_checkpoint(run) for run in _runs(paths)]
    if len(checkpoints) < FEWEST:
        raise CheckpointError(
            f"Argument `ckpt_path` stands for {len(checkpoints)} model(s), but ranks need at least {FEWEST} ({ADVISED} "
            "to tell much). Give the folder of a study, or several run folders."
        )
    if len(checkpoints) < ADVISED:
        log.warning("%d models tell little about ranks; %d or more are advised.", len(checkpoints), ADVISED)
    data.setup("fit")
    real = RealImages(data, "validate", scoring.features(), scoring.seed)
    journal = Journal(output / "scores.jsonl")
    with journal.writing():
        drawn = {number: replace(sampling, steps=number) for number in numbers}
        if guidance_scale is not None:
            drawn |= {number: replace(drawn[number], guidance_scale=guidance_scale) for number in steps}
        scores = _score(checkpoints, real, scoring, drawn, journal, device)
    found = agreement(scores, steps, reference)
    write_sheet(found, output / "agreement.csv")
    (output / "agreement.png").write_bytes(agreement_figure(found, reference))
    return found


def _runs(paths: Sequence[str]) -> Iterator[Path]:
    """Return the run folders that paths stand for; a study stands for those of its trials that left a checkpoint."""
    for path in map(Path, paths):
        if (path / "trials").is_dir():
            yield from (t for t in sorted((path / "trials").iterdir()) if list((t / "checkpoints").glob("*.ckpt")))
        else:
            yield path


def _score(
    checkpoints: Sequence[Path],
    real: RealImages,
    scoring: ScoringOptions,
    drawn: Mapping[int, SamplingOptions],
    journal: Journal,
    device: str,
) -> pd.DataFrame:
    """Score what the journal does not hold yet, and return all scores, one measure of one model per row."""
    size, numbers = real.data.transform.size, list(drawn)
    settings = {n: setting_digest(real, scoring, replace(drawn[n], steps=1), size) for n in numbers}
    wanted = [*((number, FIRST) for number in numbers), (numbers[-1], AGAIN)]
    keys = [(str(c), c.stat().st_mtime_ns, n, pictures, settings[n]) for c in checkpoints for n, pictures in wanted]
    known = {_key(event): event["values"] for event in journal.events()}
    missing = [key for key in keys if key not in known]
    with tqdm(total=len(missing), desc="scoring", unit="score") as bar:
        for model, group in groupby(missing, key=lambda key: key[0]):
            pipeline = load_pipeline(model).to(device_named(device))
            for key in group:
                _, written, number, pictures, setting = key
                known[key] = _values(pipeline, real, scoring, drawn[number], pictures)
                journal.append(
                    "score",
                    model=model,
                    written=written,
                    steps=number,
                    pictures=pictures,
                    settings=setting,
                    values=known[key],
                )
                bar.update()
    return pd.DataFrame(
        [
            {"model": model, "steps": number, "pictures": pictures, "measure": name, "value": value}
            for model, written, number, pictures, setting in keys
            for name, value in known[model, written, number, pictures, setting].items()
        ]
    )


def _key(event: dict[str, Any]) -> tuple[str, int, int, str, str]:
    return event["model"], event["written"], event["steps"], event["pictures"], event["settings"]


def _values(
    pipeline: StableDiffusionPipeline,
    real: RealImages,
    scoring: ScoringOptions,
    sampling: SamplingOptions,
    pictures: str,
) -> dict[str, float]:
    seed = scoring.seed if pictures == FIRST else derive_seed(scoring.seed, AGAIN) % 2**31
    options = replace(scoring, seed=seed, measures=scoring.measures or _of_pictures())
    seen = copy(real)
    seen.seed = seed
    model = ScoredModel(pipeline, real.data.transform.size, sampling)
    found = score(model, real.data, "validate", options, real=seen).measurements
    return {m.name: m.value.value for m in found if m.value is not None}


def _of_pictures() -> list[str]:
    """Return the measures that need pictures and no probes, which do not depend on the sampler."""
    needs = {m.name: m.needs for m in MEASURES.values()}
    drawing = {name for name, found in needs.items() if any(isinstance(need, Samples) for need in found)}
    return [n for n, found in needs.items() if n in drawing and not any(isinstance(need, Probe) for need in found)]
