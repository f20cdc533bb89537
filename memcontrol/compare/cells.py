"""One cell of the table: a method with one seed, chosen on validation patients and scored once on test patients."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memcontrol.compare.options import CompareOptions
from memcontrol.errors import SearchError
from memcontrol.search.records import Point

__all__ = ["CellSpec", "choose", "score_cell"]


@dataclass(frozen=True)
class CellSpec:
    """What a worker needs to score a cell.

    Args:
        method: Name of the method.
        seed: Its seed.
        configs: Config files: that of the comparison, and the method's.
        checkpoint: Checkpoint that was chosen, or None for the untouched base.
        chosen: Learning rate and step.
        options: Options.
        evidence: File to write.
        trust: Whether the configs are trusted.
    """

    method: str
    seed: int
    configs: tuple[str, ...]
    checkpoint: str | None
    chosen: dict[str, float]
    options: CompareOptions
    evidence: str
    trust: bool = False


def choose(points: Sequence[tuple[float, Point]], margin: float) -> tuple[float, Point]:
    """Apply the rule of selection, the same for every method.

    Args:
        points: Learning rate and validation of each candidate; the rewards are memorization and quality.
        margin: Candidates whose quality value is worse than the best by less than this share count as equally good.

    Returns:
        Of the candidates that are as good as the best, the one that memorizes least.

    Raises:
        SearchError: If there are none.
    """
    if not points:
        raise SearchError("No run of this method has left a validation to choose.")
    best = max(point.rewards[1] for _, point in points)
    good = [(lr, p) for lr, p in points if p.rewards[1] >= best - margin * abs(best)]
    return max(good, key=lambda item: item[1].rewards[0])


def score_cell(spec: CellSpec) -> str:
    """Score a cell on test patients and write its evidence; returns the file's name."""
    from memcontrol import resident
    from memcontrol.cli import build
    from memcontrol.diffusion.components import load_components
    from memcontrol.pipeline import load_pipeline
    from memcontrol.scoring import RealImages, ScoredModel, collect, measure
    from memcontrol.scoring.measures.nearness import nearness_functions

    resident.enable()
    args = [part for config in spec.configs for part in ("--config", config)]
    cli = build([*args, *(["--trust-config"] if spec.trust else [])])
    data, model = cli.datamodule, cli.model
    data.setup("test")
    options = spec.options.scoring
    sampling = options.sampling or model.sampling
    real = RealImages(data, "test", options.features(), options.seed)
    before = ScoredModel(load_components(model.base).pipeline(), data.transform.size, sampling)
    data.encode(("train", "test"), *before.codecs, 32)
    base = resident.kept(
        ("base", model.base, repr(options), real.encoder.digest), lambda: collect(before, real, options)
    )
    evidence = base
    if spec.checkpoint is not None:
        tuned = ScoredModel(load_pipeline(spec.checkpoint), data.transform.size, sampling)
        evidence = collect(tuned, real, options)
    measures = measure(evidence, real, options, base)
    train, held = real.subjects("train"), real.subjects("test")
    assert evidence.members is not None
    assert evidence.others is not None
    assert evidence.train is not None
    record = {
        "method": spec.method,
        "seed": spec.seed,
        "chosen": spec.chosen,
        "trained": _num_trained(spec),
        "measures": {m.name: m.to_dict() for m in measures},
        "images": {
            "member_loss": [_round(v) for v in evidence.members.scores["loss"].tolist()],
            "member_patient": _patients(train[row] for row in evidence.members.rows),
            "other_loss": [_round(v) for v in evidence.others.scores["loss"].tolist()],
            "other_patient": _patients(held[row] for row in evidence.others.rows),
            "drawn_patient": _patients(evidence.train.subjects),
            **{
                name: [_round(v) for v in function(evidence.train).tolist()]
                for name, function in nearness_functions(real, options).items()
            },
        },
    }
    path = Path(spec.evidence)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(_plain(record), sort_keys=True) + "\n")
    os.replace(partial, path)
    return path.name


def _num_trained(spec: CellSpec) -> int:
    if spec.checkpoint is None:
        return 0
    from memcontrol.checkpoints import read_checkpoint

    return sum(w.numel() for w in read_checkpoint(Path(spec.checkpoint))[1].values())


def _patients(names: Any) -> list[int]:
    """Number patients in order of appearance: numbers only, which say who belongs together."""
    seen: dict[str, int] = {}
    return [seen.setdefault(name, len(seen)) for name in names]


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and value != value else value


def digest_of(options: CompareOptions, config: str, overlays: dict[str, Path]) -> str:
    """Return the digest of all that the cells depend on but the methods' list."""
    fixed = asdict(options) | {"scoring": repr(options.scoring), "methods": None, "seeds": None}
    for free in ("folder", "evidence", "workers", "threads"):
        fixed.pop(free)
    content = json.dumps([fixed, config], default=str, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
