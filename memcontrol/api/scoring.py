"""`mc.score`: the measures of a model, from Python."""

from __future__ import annotations

from pathlib import Path

from memcontrol.api.fitting import private_files
from memcontrol.api.results import Run, Scores
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.devices import device_named
from memcontrol.diffusion.components import Pipeline, load_components
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.measures import ScoredModel, ScoringOptions
from memcontrol.measures import score as score_model
from memcontrol.pipeline import load_pipeline

__all__ = ["score"]


def score(
    model: Run | str | Path | Pipeline,
    data: CaptionedImageDataModule,
    *,
    split: str = "validate",
    options: ScoringOptions | None = None,
    sampling: SamplingOptions | None = None,
    base: str | Path | Pipeline | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Scores:
    """Measure memorization and quality of a model.

    Args:
        model: A run, its folder or checkpoint, or any pipeline of diffusers.
        data: The data that it was trained on.
        split: Held-out patients: `validate` or `test`.
        options: Which measures, how much is drawn, and in which features.
        sampling: How pictures are drawn, where the options do not say.
        base: The model before fine-tuning: the null of every measure. By default the run's.
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
        before = _base_of(model) if base is None else _pipeline_of(base)
        evidence = None
        if before is not None:
            untouched = ScoredModel(before.to(device_named(device)), size, drawn)
            evidence = score_model(untouched, data, split, options, progress=progress).evidence
        tuned = ScoredModel(_pipeline_of(model).to(device_named(device)), size, drawn)
        return Scores(score_model(tuned, data, split, options, evidence, progress=progress).measurements)


def _pipeline_of(model: Run | str | Path | Pipeline) -> Pipeline:
    if isinstance(model, Run):
        return model.pipeline()
    if not isinstance(model, str | Path):
        return model
    if str(model) == "embedded" or (Path(model).expanduser() / "model_index.json").is_file():
        return load_components(str(model)).pipeline()
    return load_pipeline(model)


def _base_of(model: Run | str | Path | Pipeline) -> Pipeline | None:
    """Return a run's base, or None of what does not say."""
    if isinstance(model, Run):
        card = model.card
    elif isinstance(model, str | Path) and str(model) != "embedded":
        if (Path(model).expanduser() / "model_index.json").is_file():
            return None
        card = read_checkpoint(find_checkpoint(model))[0]
    else:
        return None
    parts = load_components(card.base, card.random_init, card.seed)
    parts.truncate(card.truncation_side)
    return parts.pipeline()
