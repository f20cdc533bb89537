"""`steps`: do fewer sampler steps rank the same models alike?"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure
from scipy.stats import bootstrap, spearmanr
from tqdm import tqdm

from memcontrol.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.devices import device_named
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.errors import CheckpointError, PromptError
from memcontrol.pipeline import load_pipeline
from memcontrol.rewards.functional.intervals import Interval
from memcontrol.scoring import RealImages, ScoredModel, ScoringOptions, collect, measure
from memcontrol.seeds import derive_seed

__all__ = ["agreement", "compare_steps"]

log = logging.getLogger("memcontrol")

FEWEST = 4
ADVISED = 20
AGAIN = "again"
FIRST = "first"


def compare_steps(
    paths: Sequence[str],
    data: CaptionedImageDataModule,
    scoring: ScoringOptions,
    steps: Sequence[int],
    reference: int,
    output: Path,
    device: str,
) -> pd.DataFrame:
    """Score models at several numbers of sampler steps: see `MemControlTrainer.steps`.

    Returns:
        The rank correlations: see `agreement`.

    Raises:
        CheckpointError: If there are fewer than four models.
        PromptError: If the numbers of steps make no comparison.
    """
    runs = list(_runs(paths))
    if len(runs) < FEWEST:
        raise CheckpointError(
            f"Argument `ckpt_path` stands for {len(runs)} models, but ranks need at least {FEWEST} ({ADVISED} to tell "
            "much). Give the folder of a study, or several run folders."
        )
    if not steps or min(steps) < 1 or reference in steps:
        raise PromptError(
            f"Argument `sampler_steps` must be numbers of at least 1 other than `reference` ({reference}), but got "
            f"{list(steps)}."
        )
    if len(runs) < ADVISED:
        log.warning("%d models tell little about ranks; %d or more are advised.", len(runs), ADVISED)
    assert scoring.sampling is not None
    data.setup("fit")
    real = RealImages(data, "validate", scoring.features(), scoring.seed)
    output.mkdir(parents=True, exist_ok=True, mode=0o700)
    table = _score(runs, real, scoring, scoring.sampling, [*steps, reference], output / "scores.csv", device)
    found = agreement(table, steps, reference)
    found.to_csv(output / "agreement.csv", index=False)
    (output / "agreement.png").write_bytes(_figure(found, reference))
    return found


def agreement(scores: pd.DataFrame, steps: Sequence[int], reference: int, seed: int = 0) -> pd.DataFrame:
    """Correlate ranks at fewer steps with ranks at the reference.

    Args:
        scores: Columns model, steps, pictures (`first` or `again`), measure, value.
        steps: Fewer steps.
        reference: Steps of the reference.
        seed: Seed of the bootstrap over models.

    Returns:
        One row per measure and number of steps, with Spearman's rho in [-1, 1] (higher is better) and its 95 %
        interval over models. The row of the reference itself compares it with other pictures of as many steps: nothing
        can be expected to agree better than that.
    """
    rows = []
    for name, part in scores.groupby("measure", sort=False):
        wide = part.pivot(index="model", columns=["steps", "pictures"], values="value").dropna()
        if len(wide) < FEWEST:
            continue
        for number, pictures in [*((number, FIRST) for number in steps), (reference, AGAIN)]:
            pair = wide[(reference, FIRST)].to_numpy(), wide[(number, pictures)].to_numpy()
            rho = _rank_correlation(pair, seed)
            rows.append({"measure": name, "steps": number, "rho": rho.value, "low": rho.low, "high": rho.high})
    return pd.DataFrame(rows)


def _rank_correlation(pair: tuple[np.ndarray, np.ndarray], seed: int) -> Interval:
    if min(np.ptp(values) for values in pair) == 0:
        return Interval(np.nan, np.nan, np.nan, len(pair[0]))

    def rho(x: np.ndarray, y: np.ndarray) -> float:
        has_order = np.ptp(x) > 0 and np.ptp(y) > 0  # a resample may be one model many times
        return float(spearmanr(x, y).statistic) if has_order else 0.0

    found = bootstrap(pair, rho, paired=True, vectorized=False, n_resamples=2000, method="percentile", rng=seed)
    low, high = found.confidence_interval
    return Interval(rho(*pair), float(low), float(high), len(pair[0]))


def _runs(paths: Sequence[str]) -> Iterator[Path]:
    """Return the run folders that paths stand for; a study stands for its trials."""
    for path in map(Path, paths):
        if not (path / "trials").is_dir():
            yield path
            continue
        for trial in sorted((path / "trials").iterdir()):
            if list((trial / "checkpoints").glob("*.ckpt")):
                yield trial


def _score(
    runs: Sequence[Path],
    real: RealImages,
    scoring: ScoringOptions,
    sampling: SamplingOptions,
    steps: Sequence[int],
    file: Path,
    device: str,
) -> pd.DataFrame:
    """Score what is not in the file yet, and return its rows for these models and settings."""
    known = pd.read_csv(file, dtype={"settings": str}) if file.is_file() else pd.DataFrame()
    settings = _settings(real, scoring)
    done: set[tuple[str, int, str]] = set()
    if len(known):
        known = known[known["settings"] == settings]
        done = set(known[["model", "steps", "pictures"]].itertuples(index=False, name=None))
    wanted = [*((number, FIRST) for number in steps), (steps[-1], AGAIN)]
    missing = [(run, *item) for run in runs for item in wanted if (str(run), *item) not in done]
    parts = [known] if len(known) else []
    with tqdm(total=len(missing), desc="scoring", unit="draw") as bar:
        for run, items in groupby(missing, key=lambda item: item[0]):
            pipeline = load_pipeline(run).to(device_named(device))
            trained = read_checkpoint(find_checkpoint(run))[0].step
            for _, number, pictures in items:
                values = _values(pipeline, real, scoring, replace(sampling, steps=number), pictures)
                part = pd.DataFrame({"measure": list(values), "value": list(values.values())})
                part = part.assign(settings=settings, model=str(run), trained=trained, steps=number, pictures=pictures)
                part.to_csv(file, mode="a", index=False, header=not file.is_file())
                parts.append(part)
                bar.update()
    return pd.concat(parts)


def _values(
    pipeline: StableDiffusionPipeline,
    real: RealImages,
    scoring: ScoringOptions,
    sampling: SamplingOptions,
    pictures: str,
) -> dict[str, float]:
    seed = scoring.seed if pictures == FIRST else derive_seed(scoring.seed, AGAIN) % 2**31
    options = replace(scoring, seed=seed, sampling=sampling)
    seen = copy(real)
    seen.seed = seed
    model = ScoredModel(pipeline, real.data.transform.size, sampling)
    found = measure(collect(model, seen, options, probes=False), seen, options)
    return {m.name: m.value.value for m in found if m.value is not None}


def _settings(real: RealImages, scoring: ScoringOptions) -> str:
    """Return a digest of what scores depend on beside the model and the steps."""
    sampling = replace(scoring.sampling, steps=1) if scoring.sampling else None
    contents = [real.data.table(split)["content"].to_csv() for split in ("train", real.heldout)]
    described = repr((replace(scoring, sampling=sampling), contents))
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _figure(found: pd.DataFrame, reference: int) -> bytes:
    """Draw the correlations of each measure, with intervals."""
    mpl.use("agg")
    names = list(dict.fromkeys(found["measure"]))
    numbers = sorted(set(found["steps"]))
    figure = Figure(figsize=(6.5, 1.2 + 0.45 * len(names)))
    axes = figure.add_subplot()
    for i, number in enumerate(numbers):
        part = found[found["steps"] == number].set_index("measure").reindex(names)
        y = np.arange(len(names)) + 0.7 * (i / max(1, len(numbers) - 1) - 0.5)
        spread = np.vstack([part["rho"] - part["low"], part["high"] - part["rho"]]).clip(min=0)
        label = f"{number} steps" if number != reference else f"{number} steps, other pictures"
        axes.errorbar(part["rho"], y, xerr=spread, fmt="o", markersize=4, capsize=2, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="#aab7b8", linewidth=0.8)
    axes.set_xlabel(f"rank correlation with {reference} steps over models (95 %)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, bbox_inches="tight")
    return buffer.getvalue()
