"""Score a point of the front again, with fresh seeds, more pictures and more noise: the archive's best are lucky."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from memcontrol.callbacks import RewardsCallback
from memcontrol.devices import device_named
from memcontrol.diffusion.bases import load_components
from memcontrol.files import worker_cache
from memcontrol.jobs.cuda_errors import dying_of_cuda_errors
from memcontrol.jobs.entry import load_entry
from memcontrol.jobs.run import use_threads
from memcontrol.measures import Evidence, Point, RealImages, ScoredModel, ScoringOptions, chosen_measures, score
from memcontrol.measures.setting import setting_digest
from memcontrol.pipeline import load_pipeline
from memcontrol.seeds import derive_seed

__all__ = ["RescoreSpec", "once_more", "rescore"]


@dataclass(frozen=True)
class RescoreSpec:
    """What a worker needs to know.

    Args:
        build: What makes trainer, module and data of a config, as `module:function`.
        config: Config file of the study's trials.
        overlay: What the trial lays over it: how it draws, say, which belongs to its model.
        checkpoint: Checkpoint of the point.
        step: Its step.
        objectives: Measures that are traded off.
        factor: How many times the pictures, and the noise and timestep pairs of each probed image.
        scale: How far from the base to what was trained to go, in [0, 1].
        trust: Whether the config is trusted.
        threads: CPU threads.
    """

    build: str
    config: str
    checkpoint: str
    step: int
    objectives: tuple[str, ...]
    factor: int
    trust: bool = False
    threads: int | None = None
    scale: float = 1.0
    overlay: str | None = None


def once_more(scoring: ScoringOptions, factor: int) -> ScoringOptions:
    """Return how a point is scored again: with so many times the pictures and the noise, and fresh seeds.

    More pictures say more of quality, and more pairs of noise and timestep of what an attacker learns from losses.
    """
    return replace(
        scoring,
        num_images=scoring.num_images * factor,
        draws=scoring.draws * factor,
        seed=derive_seed(scoring.seed, "rescore") % 2**31,
    )


def rescore(spec: RescoreSpec) -> Point:
    """Return a checkpoint's point on validation patients, scored anew.

    Raises:
        RewardError: If a measure could not be estimated.
    """
    with dying_of_cuda_errors(sys.stderr):
        return _rescore(spec)


def _rescore(spec: RescoreSpec) -> Point:
    worker_cache.enable()
    use_threads(spec.threads)
    trust = ["--trust-config"] if spec.trust else []
    configs = [part for path in (spec.config, spec.overlay) if path is not None for part in ("--config", path)]
    cli = load_entry(spec.build)([*configs, "--trainer.devices=1", "--trainer.num_nodes=1", *trust])
    (scorer,) = (c for c in cli.trainer.callbacks if isinstance(c, RewardsCallback))
    options = once_more(scorer.scoring, spec.factor)
    data = cli.datamodule
    data.setup("fit")
    size, sampling, device = data.transform.size, options.sampling_of(cli.model.sampling), device_named("auto")
    real, before = RealImages(data, "validate", options.features(), options.seed), None
    calibrated = [m.name for m in chosen_measures(options, scorer.metrics) if m.needs_base]
    if calibrated:

        def score_base() -> Evidence:
            parts = load_components(cli.model.base, cli.model.random_init, cli.model.seed)
            parts.truncate(cli.model.truncation_side)
            base = ScoredModel(parts.pipeline().to(device), size, sampling)
            return score(base, data, "validate", replace(options, measures=calibrated), real=real).evidence

        setting = setting_digest(real, options, sampling, size)
        before = worker_cache.cached(("rescored base", spec.config, setting), score_base)
    model = ScoredModel(load_pipeline(spec.checkpoint, scale=spec.scale).to(device), size, sampling)
    found = score(model, data, "validate", options, before, real=real, further=scorer.metrics)
    return Point.of(spec.step, found.measurements, spec.objectives, spec.scale)
