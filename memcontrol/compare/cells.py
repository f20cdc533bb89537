"""One cell of the table: a method with one seed, chosen on validation patients and scored once on test patients."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchvision.utils import save_image

from memcontrol.audit.attack import attack
from memcontrol.compare.evidence import Candidate, CellEvidence, Extracted
from memcontrol.compare.options import CompareOptions
from memcontrol.data.features import split_pixels
from memcontrol.devices import device_named
from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.errors import SearchError
from memcontrol.files import worker_cache
from memcontrol.files.checkpoints import read_checkpoint
from memcontrol.jobs.cuda_errors import dying_of_cuda_errors
from memcontrol.jobs.entry import load_entry
from memcontrol.measures import (
    MEASURES,
    Evidence,
    RealImages,
    Samples,
    Scene,
    Score,
    ScoredModel,
    ScoringOptions,
    Shadow,
    chosen_measures,
    collect,
    score,
)
from memcontrol.measures.score import encode_splits
from memcontrol.measures.setting import setting_digest
from memcontrol.pipeline import load_pipeline

__all__ = ["LIRA", "CellSpec", "choose", "score_cell"]

NUM_SHOWN = 6
REAL = "real"
"""What the row of real images is called."""
LIRA = "membership_lira"


@dataclass(frozen=True)
class CellSpec:
    """What a worker needs to score a cell.

    Args:
        build: What makes trainer, module and data of a config, as `module:function`.
        method: Name of the method.
        seed: Its seed.
        setting: Digests of all that its figures depend on beside the seed.
        configs: Config files: that of the comparison, and the method's.
        checkpoint: Checkpoint that was chosen, or None for the untouched base.
        chosen: Learning rate and step.
        candidates: What it was chosen from, where this seed was the one that chose.
        options: Options.
        evidence: File to write.
        pictures: File to write a row of sampled images to.
        mitigates: The method that this one adds a mitigation to, or None.
        shadows: Checkpoints of models that were trained as it was on random halves of the patients.
        trust: Whether the configs are trusted.
    """

    build: str
    method: str
    seed: int
    setting: str
    configs: tuple[str, ...]
    checkpoint: str | None
    chosen: dict[str, float]
    candidates: tuple[Candidate, ...]
    options: CompareOptions
    evidence: str
    pictures: str
    mitigates: str | None = None
    shadows: tuple[str, ...] = ()
    trust: bool = False


def choose(candidates: Sequence[Candidate], margin: float) -> Candidate:
    """Apply the rule of selection, the same for every method.

    Args:
        candidates: Validations of one method.
        margin: Candidates whose quality value is worse than the best by less than this share count as equally good.

    Returns:
        Of the candidates that are as good as the best, the one that memorizes least; of several, the best.

    Raises:
        SearchError: If there are none.
    """
    if not candidates:
        raise SearchError("No run of this method has left a validation to choose.")
    best = max(candidate.point.rewards[1] for candidate in candidates)
    good = [c for c in candidates if c.point.rewards[1] >= best - margin * abs(best)]
    return max(good, key=lambda candidate: candidate.point.rewards)


@dying_of_cuda_errors(sys.stderr)
def score_cell(spec: CellSpec) -> str:
    """Score a cell on test patients and write its evidence; returns the file's name."""
    worker_cache.enable()
    args = [part for config in spec.configs for part in ("--config", config)]
    cli = load_entry(spec.build)([*args, *(["--trust-config"] if spec.trust else [])])
    data, model = cli.datamodule, cli.model
    data.setup("test")
    options, size = spec.options.scoring, data.transform.size
    sampling, device = options.sampling_of(model.sampling), device_named("auto")
    real = RealImages(data, "test", options.features(), options.seed)
    parts = load_components(model.base)
    parts.truncate(model.truncation_side)
    before = ScoredModel(parts.pipeline().to(device), size, sampling)
    base = worker_cache.cached(
        ("base", model.base, model.truncation_side, setting_digest(real, options, sampling, size)),
        lambda: score(before, data, "test", options, real=real),
    )
    shadows = [
        Shadow(_probed(path, real, options, sampling), data.coin_half(number))
        for number, path in enumerate(spec.shadows)
    ]
    scored, found = before, Score(base.evidence, _against_itself(base, real, options))
    if spec.checkpoint is not None:
        scored = ScoredModel(load_pipeline(spec.checkpoint).to(device), size, sampling)
        also = MEASURES[LIRA].needs if shadows else ()
        found = score(scored, data, "test", options, base.evidence, real=real, also=also)
    scene = Scene(real, options, base.evidence, shadows)
    attacked = MEASURES[LIRA].measure(found.evidence, scene, base.evidence) if shadows else []
    extraction = attack(scored, real, found.evidence, spec.options.extraction, options.alpha)
    evidence = CellEvidence(
        method=spec.method,
        seed=spec.seed,
        setting=spec.setting,
        chosen=spec.chosen,
        candidates=spec.candidates,
        trained=_num_trained(spec),
        parameters=sum(p.numel() for p in before.pipeline.unet.parameters()),
        measurements={m.name: m for m in [*found.measurements, *attacked]},
        extraction=Extracted(extraction.prompts, extraction.flagged, len(extraction.extracted)) if extraction else None,
        mitigates=spec.mitigates,
        **_kept(found.evidence, scene),
    )
    heldout = found.evidence.get(Samples("heldout"))
    if heldout is not None:
        _save_row(heldout.images[:NUM_SHOWN], Path(spec.pictures))
        if spec.options.images == "full":  # what they were drawn beside, where patients may be seen
            shown = split_pixels(data, "test", heldout.rows[:NUM_SHOWN])
            _save_row(shown, Path(spec.pictures).with_name(f"{REAL}-seed{spec.seed}.png"))
    evidence.write(Path(spec.evidence))
    return Path(spec.evidence).name


def _probed(path: str, real: RealImages, options: ScoringOptions, sampling: SamplingOptions) -> Evidence:
    """Return what the attack with shadow models must know of one; a worker keeps it for the other seeds."""
    key = ("shadow", path, setting_digest(real, options, sampling, real.data.transform.size))

    def probe() -> Evidence:
        model = ScoredModel(load_pipeline(path).to(device_named("auto")), real.data.transform.size, sampling)
        encode_splits(model, real.data, ("train", "test"))
        return collect(model, real, options, MEASURES[LIRA].needs)

    return worker_cache.cached(key, probe)


def _against_itself(base: Score, real: RealImages, options: ScoringOptions) -> list[Any]:
    """Measure the base as any model, with itself as null."""
    scene = Scene(real, options, base.evidence)
    return [m for part in chosen_measures(options) for m in part.measure(base.evidence, scene, base.evidence)]


def _kept(evidence: Evidence, scene: Scene) -> dict[str, Any]:
    """Return what rows pair by: values per image where a measure's aggregator keeps them, replicates otherwise."""
    kept: dict[str, Any] = {"values": {}, "replicates": {}}
    shadowed = [MEASURES[LIRA]] if scene.shadows else []
    for measure in dict.fromkeys([*chosen_measures(scene.options), *shadowed]):
        values = measure.values(evidence, scene) if measure.is_reward or measure in shadowed else None
        if values is None:
            continue
        if measure.aggregator.keeps_values:
            kept["values"][measure.name] = values
        else:
            found = measure.aggregator.replicates(values, scene.options.seed)
            if len(found):
                kept["replicates"][measure.name] = found
    return kept


def _num_trained(spec: CellSpec) -> int:
    if spec.checkpoint is None:
        return 0
    return sum(w.numel() for w in read_checkpoint(Path(spec.checkpoint))[1].values())


def _save_row(images: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(images, path, nrow=len(images), padding=1)
