"""Score a point of the front again, with fresh seeds and more images: the archive's best are lucky."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memcontrol.errors import SearchError
from memcontrol.rewards.objective import reward_of
from memcontrol.search.sticky import dying_of_cuda_errors

__all__ = ["RescoreSpec", "checkpoint_of", "rescore"]


@dataclass(frozen=True)
class RescoreSpec:
    """What a worker needs to know.

    Args:
        config: Config file of the study.
        checkpoint: Checkpoint of the point.
        objectives: Measures that are traded off.
        factor: How many times the images.
        trust: Whether the config is trusted.
        threads: CPU threads.
    """

    config: str
    checkpoint: str
    objectives: tuple[str, ...]
    factor: int
    trust: bool = False
    threads: int | None = None


def checkpoint_of(folder: Path, step: int) -> Path | None:
    """Return the checkpoint of a run at a step, if it was kept."""
    kept = folder / "pareto" / f"step-{step:07d}.ckpt"
    if kept.is_file():
        return kept
    from memcontrol.checkpoints import find_checkpoint, read_checkpoint

    try:
        last = find_checkpoint(folder)
        return last if read_checkpoint(last)[0].step == step else None
    except Exception:
        return None


def rescore(spec: RescoreSpec) -> dict[str, Any]:
    """Return `rewards` and `measures` of a checkpoint, on validation patients.

    Raises:
        SearchError: If a measure could not be estimated.
    """
    with dying_of_cuda_errors(sys.stderr):
        return _rescore(spec)


def _rescore(spec: RescoreSpec) -> dict[str, Any]:
    import callbacks
    from memcontrol import resident
    from memcontrol.cli import build
    from memcontrol.devices import device_named
    from memcontrol.pipeline import load_pipeline
    from memcontrol.scoring import RealImages, ScoredModel, collect, measure
    from memcontrol.scoring.metrics import metric_measures
    from memcontrol.search.trial import _use_threads
    from memcontrol.seeds import derive_seed

    resident.enable()
    _use_threads(spec.threads)
    trust = ["--trust-config"] if spec.trust else []
    cli = build(["--config", spec.config, "--trainer.devices=1", "--trainer.num_nodes=1", *trust])
    found_callbacks = cli.trainer.callbacks  # type: ignore[attr-defined]
    (scorer,) = (c for c in found_callbacks if isinstance(c, callbacks.RewardsCallback))
    options = replace(
        scorer.scoring,
        num_images=scorer.scoring.num_images * spec.factor,
        seed=derive_seed(scorer.scoring.seed, "rescore") % 2**31,
    )
    cli.datamodule.setup("fit")
    pipeline = load_pipeline(spec.checkpoint).to(device_named("auto"))
    model = ScoredModel(pipeline, cli.datamodule.transform.size, options.sampling_of(cli.model.sampling))
    images, texts = model.codecs
    cli.datamodule.encode(("train", "validate"), images, texts, 32)
    real = RealImages(cli.datamodule, "validate", options.features(), options.seed)
    evidence = collect(model, real, options)
    found_measures = measure(evidence, real, options) + metric_measures(scorer.metrics, evidence, real)
    measures = {m.name: m for m in found_measures}
    rewards = []
    for name in spec.objectives:
        found = measures.get(name)
        if found is None or found.value is None:
            raise SearchError(
                f"`{name}` could not be scored again: {found.note if found else 'it is no measure of ours'}."
            )
        rewards.append(reward_of(found.value.value, found.higher_is_better))
    return {"rewards": rewards, "measures": {n: m.value.__dict__ for n, m in measures.items() if m.value is not None}}
