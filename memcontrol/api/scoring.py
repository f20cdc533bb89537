"""`mc.score`: the measures of a model, from Python."""

from __future__ import annotations

from pathlib import Path

from memcontrol.api.private_files import private_files
from memcontrol.api.results import Run, Scores
from memcontrol.audit.sources import Load, open_source
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.devices import device_named
from memcontrol.diffusion.bases import ALIASES, load_components
from memcontrol.diffusion.components import Pipeline
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.errors import CheckpointError
from memcontrol.measures import ScoredModel, ScoringOptions
from memcontrol.measures import score as score_model

__all__ = ["score"]


def score(
    model: Run | str | Path | Pipeline,
    data: CaptionedImageDataModule,
    *,
    split: str = "validate",
    options: ScoringOptions | None = None,
    sampling: SamplingOptions | None = None,
    base: str | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Scores:
    """Measure memorization and quality of a model.

    Args:
        model: A run, its folder or checkpoint, a pipeline of diffusers or its folder, or `embedded`.
        data: The data that it was trained on.
        split: Held-out patients: `validate` or `test`.
        options: Which measures, how much is drawn, and in which features.
        sampling: How pictures are drawn, where the options do not say.
        base: The model before fine-tuning, a folder, file or hub id: the null of every measure. By default the run's.
        device: Where to draw: `auto`, `cpu`, `cuda`, ...
        progress: Whether to show bars.

    Returns:
        Measures with 95 % intervals over patients.

    Raises:
        RewardError: If a measure is unknown, or there are too few held-out patients.
        CheckpointError: If the run cannot be loaded.
    """
    options = options or ScoringOptions()
    with private_files():
        data.setup("test" if split == "test" else "validate")
        drawn = options.sampling_of(sampling or SamplingOptions())
        size = data.transform.size
        load, before = _opened(model, base)
        evidence = None
        if before is not None:  # first, and gone before the other is loaded
            untouched = ScoredModel(before().to(device_named(device)), size, drawn)
            evidence = score_model(untouched, data, split, options, progress=progress).evidence
            del untouched
        tuned = ScoredModel(load().to(device_named(device)), size, drawn)
        return Scores(score_model(tuned, data, split, options, evidence, progress=progress).measurements)


def _opened(model: Run | str | Path | Pipeline, base: str | None) -> tuple[Load, Load | None]:
    """Return what loads a model and, where it is known, what it was before fine-tuning."""
    if isinstance(model, Pipeline):
        return (lambda: model), None if base is None else lambda: load_components(base).pipeline()
    path = str(model.folder if isinstance(model, Run) else model)
    if path in ALIASES:
        return (lambda: load_components(path).pipeline()), None
    source = open_source(path, base)
    if source.pipeline is None:
        raise CheckpointError(
            f"Argument `model` is {path!r}, a folder of pictures without a model. Give a run, a checkpoint or a "
            "pipeline; `audit` takes pictures."
        )
    return source.pipeline, source.base
