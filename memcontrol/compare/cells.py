"""One cell of the table: a method with one seed, chosen on validation patients and scored once on test patients."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memcontrol.compare.options import CompareOptions
from memcontrol.errors import SearchError
from memcontrol.search.sticky import dying_of_cuda_errors

if TYPE_CHECKING:
    from memcontrol.audit.attack import Extraction

__all__ = ["Candidate", "CellSpec", "choose", "digest_of", "score_cell", "setting_of"]

NUM_SHOWN = 6


@dataclass(frozen=True)
class Candidate:
    """A validation of a run.

    Args:
        lr: Learning rate.
        step: Optimizer step.
        rewards: Rewards of memorization and of quality, higher is better.
        values: Measures, each with value and interval.
    """

    lr: float
    step: int
    rewards: tuple[float, ...]
    values: dict[str, Any]


@dataclass(frozen=True)
class CellSpec:
    """What a worker needs to score a cell.

    Args:
        method: Name of the method.
        seed: Its seed.
        setting: Digests of all that its figures depend on beside the seed.
        configs: Config files: that of the comparison, and the method's.
        checkpoint: Checkpoint that was chosen, or None for the untouched base.
        chosen: Learning rate and step.
        candidates: What it was chosen from, where this seed was the one that chose.
        options: Options.
        evidence: File to write.
        pictures: File to write a row of drawn images to.
        trust: Whether the configs are trusted.
    """

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
    best = max(candidate.rewards[1] for candidate in candidates)
    good = [c for c in candidates if c.rewards[1] >= best - margin * abs(best)]
    return max(good, key=lambda candidate: candidate.rewards)


@dying_of_cuda_errors(sys.stderr)
def score_cell(spec: CellSpec) -> str:
    """Score a cell on test patients and write its evidence; returns the file's name."""
    from memcontrol import resident
    from memcontrol.audit.attack import attack
    from memcontrol.cli import build
    from memcontrol.devices import device_named
    from memcontrol.diffusion.components import load_components
    from memcontrol.pipeline import load_pipeline
    from memcontrol.scoring import RealImages, ScoredModel, collect, measure
    from memcontrol.scoring.measures.nearness import nearness_functions
    from memcontrol.scoring.measures.quality import DRAWS, distance_draws

    resident.enable()
    args = [part for config in spec.configs for part in ("--config", config)]
    cli = build([*args, *(["--trust-config"] if spec.trust else [])])
    data, model = cli.datamodule, cli.model
    data.setup("test")
    options = spec.options.scoring
    sampling, device = options.sampling_of(model.sampling), device_named("auto")
    real = RealImages(data, "test", options.features(), options.seed)
    before = ScoredModel(load_components(model.base).pipeline().to(device), data.transform.size, sampling)
    data.encode(("train", "test"), *before.codecs, 32)
    base = resident.kept(
        ("base", model.base, repr((options, sampling, spec.configs[0])), real.encoder.digest),
        lambda: collect(before, real, options),
    )
    evidence, scored = base, before
    if spec.checkpoint is not None:
        scored = ScoredModel(load_pipeline(spec.checkpoint).to(device), data.transform.size, sampling)
        evidence = collect(scored, real, options)
    train, held = real.subjects("train"), real.subjects("test")
    assert evidence.members is not None
    assert evidence.others is not None
    assert evidence.train is not None
    assert evidence.heldout is not None
    record = {
        "method": spec.method,
        "seed": spec.seed,
        "setting": spec.setting,
        "chosen": spec.chosen,
        "candidates": [asdict(candidate) for candidate in spec.candidates],
        "trained": _num_trained(spec),
        "parameters": sum(p.numel() for p in before.pipeline.unet.parameters()),
        "measures": {m.name: m.to_dict() for m in measure(evidence, real, options, base)},
        "extraction": _extracted(attack(scored, real, spec.options.extraction, options.alpha)),
        "draws": {name: distance_draws(name, evidence.heldout, real, options.seed) for name in DRAWS},
        "images": {
            "member_loss": evidence.members.scores["loss"].tolist(),
            "member_patient": _numbers(train[row] for row in evidence.members.rows),
            "other_loss": evidence.others.scores["loss"].tolist(),
            "other_patient": _numbers(held[row] for row in evidence.others.rows),
            "drawn_patient": _numbers(evidence.train.subjects),
            **{name: function(evidence.train).tolist() for name, function in nearness_functions(real, options).items()},
        },
    }
    _draw(evidence.heldout.images[:NUM_SHOWN], Path(spec.pictures))
    path = Path(spec.evidence)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(_plain(record), sort_keys=True) + "\n")
    os.replace(partial, path)
    return path.name


def _extracted(found: Extraction | None) -> dict[str, int] | None:
    """Return counts: attacked prompts, those whose samples agree, and training images that these give away."""
    if found is None:
        return None
    return {"prompts": found.prompts, "flagged": found.flagged, "images": len(found.extracted)}


def _num_trained(spec: CellSpec) -> int:
    if spec.checkpoint is None:
        return 0
    from memcontrol.checkpoints import read_checkpoint

    return sum(w.numel() for w in read_checkpoint(Path(spec.checkpoint))[1].values())


def _draw(images: Any, path: Path) -> None:
    from torchvision.utils import save_image

    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(images, path, nrow=len(images), padding=1)


def _numbers(patients: Iterable[str]) -> list[int]:
    """Number patients in order of appearance: numbers only, which say who belongs together."""
    seen: dict[str, int] = {}
    return [seen.setdefault(name, len(seen)) for name in patients]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return None if value != value else float(f"{value:.6g}")
    return value


def digest_of(options: CompareOptions, config: str) -> str:
    """Return the digest of all that every cell depends on; methods and seeds may be added."""
    cells = (options.lrs, options.memorization, options.quality, options.margin, repr(options.scoring))
    return hashlib.sha256(json.dumps([*cells, config]).encode()).hexdigest()[:16]


def setting_of(digest: str, overlay: Path | None) -> str:
    """Return what a method's cells depend on: the comparison's digest, and that of the overlay's content."""
    content = overlay.read_bytes() if overlay is not None else b""
    return f"{digest}:{hashlib.sha256(content).hexdigest()[:16]}"
