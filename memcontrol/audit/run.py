"""Run an audit: score, judge, report."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from memcontrol.audit.attack import attack
from memcontrol.audit.audited import Audited
from memcontrol.audit.comparison import Difference, compare
from memcontrol.audit.exchangeability import exchangeability
from memcontrol.audit.one_run import lower_bound
from memcontrol.audit.options import AuditOptions
from memcontrol.audit.patients import patients_at_risk, write_patients
from memcontrol.audit.report import write_report
from memcontrol.audit.sample_cache import CachedModel
from memcontrol.audit.shadows import ShadowTraining
from memcontrol.audit.sources import Source, named, open_source
from memcontrol.audit.verdict import Patients, judge
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.features import file_pixels
from memcontrol.data.patients import recorded_training_set, write_patients_record
from memcontrol.devices import device_named
from memcontrol.diffusion.components import Pipeline
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.errors import CheckpointError, DivergedError
from memcontrol.exports import write_model_card
from memcontrol.files.atomic import write_json
from memcontrol.files.card import Card, check_value_range
from memcontrol.files.digests import changes_of
from memcontrol.files.provenance import versions_of
from memcontrol.files.run_folder import ADAPTER, AUDIT, CARD, find_run, write_verdict
from memcontrol.measures import (
    Evidence,
    RealImages,
    Sampled,
    Samples,
    Scene,
    ScoringOptions,
    Shadow,
    collect,
    measure,
    score,
)
from memcontrol.measures.membership import LOW_NOISE
from memcontrol.measures.score import encode_splits
from memcontrol.pipeline import load_pipeline
from memcontrol.privacy.guarantee import guarantee_of

__all__ = ["audit"]

OTHER_SET = (
    "It was trained on other images than this config's training split: what else it was trained on was not tested, and "
    "images taken for members here may be none."
)
FOLDERS = re.compile(r"(?<![\w.\-])~?/[^\s=\[\],'\"]*/(?=[^/])")
"""What leads to a file or folder of this machine: it tells a report's reader nothing, and may name people."""
SHOWN: Final = (Samples("train"),)
"""What the report and the verdict show besides measures: pictures for training captions."""

log = logging.getLogger("memcontrol")
PACKAGES = ("memcontrol", "torch", "diffusers", "peft", "torchmetrics")


def audit(
    paths: list[str],
    data: CaptionedImageDataModule,
    options: AuditOptions,
    sampling: SamplingOptions,
    output: Path,
    base: str | None = None,
    device: str = "auto",
    shadows: ShadowTraining | None = None,
) -> list[Audited]:
    """Audit models or pictures against the data that they were trained on.

    Args:
        paths: Run folders, checkpoints, PEFT folders, pipeline folders or folders of pictures.
        data: The data; memorization is measured on its training split, quality on its test split.
        options: Options.
        sampling: How images are drawn, where the options do not say.
        output: Folder for `audit.json`, `report.html`, `leaking.csv` (patients by name, for the data's owner only),
            what is drawn, and shadow models.
        base: Model before fine-tuning, where a path does not say.
        device: Where to draw: `auto`, `cpu`, `cuda`, ...
        shadows: Trains shadow models of runs, where the options ask for some.

    Returns:
        What was found, for each path.

    Raises:
        CheckpointError: If a path is nothing that can be audited.
        RewardError: If there are too few held-out patients.
    """
    if not paths:
        raise CheckpointError("Argument `ckpt_path` is empty. Name at least one run, checkpoint or folder to audit.")
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise CheckpointError(f"Argument `ckpt_path` names {twice} twice. Name each model once.")
    sources = named([open_source(path, base) for path in paths])
    for source in sources:
        if options.shadows.number and shadows is not None and source.card is not None:
            shadows.check(find_run(source.path) or source.path)
    data.setup("test")
    for source in sources:
        if source.card is not None:
            check_value_range(source.card, data.value_range)
    real = RealImages(data, "test", options.scoring.features(), options.scoring.seed)
    output.mkdir(parents=True, exist_ok=True, mode=0o700)
    device = device_named(device)
    scoring = replace(options.scoring, sampling=options.scoring.sampling_of(sampling))
    options = replace(options, scoring=scoring)
    bases: dict[str, Evidence] = {}
    found = []
    for source in sources:
        trained = _shadows(source, real, options, output, device, shadows)
        found.append(_audit_one(source, real, options, output, device, bases, trained))
    differences = compare(found[0], found[1:], real, options.scoring)
    _write(found, differences, real, options, output)
    for item in found:
        log.info("%s: %s", item.source.path, item.verdict.sentence)
    log.info("The report is %s", output / "report.html")
    return found


def _audit_one(
    source: Source,
    real: RealImages,
    options: AuditOptions,
    output: Path,
    device: str,
    bases: dict[str, Evidence],
    shadows: Sequence[Shadow] = (),
) -> Audited:
    """Audit one source; of its models one at a time is in memory, and each base is scored once."""
    extraction, before, scoring = None, None, options.scoring
    if source.base is not None:
        model = _model(source.base(), real, options, output, device, "base")
        if model.weights not in bases:
            bases[model.weights] = score(
                model, real.data, "test", scoring, real=real, also=SHOWN, progress=True
            ).evidence
        before = bases[model.weights]
        del model
    if source.pipeline is not None:
        model = _model(source.pipeline(), real, options, output, device, source.name)
        try:
            found = score(
                model, real.data, "test", scoring, before, real=real, also=SHOWN, shadows=shadows, progress=True
            )
        except DivergedError as error:
            raise CheckpointError(f"{source.path} cannot be audited. {error}") from error
        evidence, measurements = found.evidence, found.measurements
        extraction = attack(model, real, evidence, options.extraction, scoring.alpha)
        del model
    else:
        evidence = _evidence_of_pictures(source, real)
        measurements = measure(evidence, real, scoring, before)
    sampled = evidence[Samples("train")]
    others = evidence.get(Samples("heldout"))
    leaking = leaking_patients(sampled, real, scoring.alpha)
    patients = Patients(
        training=len(set(real.subjects("train"))),
        heldout=len(set(real.subjects(real.heldout_split))),
        sampled=len(set(sampled.subjects)),
        calibration=len(set(real.calibration_subjects())),
        control=len(set(others.subjects)) if others is not None else 0,
        beside_base=before is not None and before.holds([Samples("train")]),
        near_copies=len(real.near_copies),
    )
    fairness = exchangeability(real, before, scoring.seed)
    verdict = judge(measurements, extraction, leaking, patients, fairness, scoring.alpha, options.level)
    if _trained_on(source) not in (None, real.data.training_set()):
        log.warning("%s: %s", source.path, OTHER_SET)
        verdict = replace(verdict, details=[OTHER_SET, *verdict.details])
    scene = Scene(real, scoring, before, shadows)
    ranked = patients_at_risk(scene, evidence, extraction, verdict.adjusted.get("extraction", 1.0) < options.level)
    guarantee = guarantee_of(source.card) if source.card is not None else None
    used = lower_bound(evidence, scene, guarantee.delta) if guarantee is not None else lower_bound(evidence, scene)
    return Audited(
        source, evidence, measurements, extraction, verdict, before, fairness, ranked, shadows, guarantee, used
    )


def _trained_on(source: Source) -> str | None:
    """Return the digest of what a source was trained on, as far as it is known."""
    if source.card is None or source.card.training_set is not None:
        return source.card.training_set if source.card is not None else None
    return recorded_training_set(find_run(source.path) or source.path)


def _shadows(
    source: Source,
    real: RealImages,
    options: AuditOptions,
    output: Path,
    device: str,
    training: ShadowTraining | None,
) -> list[Shadow]:
    """Train shadow models of a run, and probe them."""
    if not options.shadows.number or training is None:
        return []
    if source.kind != "run" or source.card is None:
        log.warning("%s is no run, so there is no way to train shadow models of it", source.path)
        return []
    run = find_run(source.path) or source.path
    paths = training.train(run, source.card, output / "shadows" / source.name.replace("/", "-"))
    found = []
    for number, path in enumerate(tqdm(paths, desc="probing shadow models", unit="model", delay=5)):
        model = _model(load_pipeline(path), real, options, output, device, "shadow")
        encode_splits(model, real.data, ("train", real.heldout_split))
        evidence = collect(model, real, options.scoring, LOW_NOISE)
        found.append(Shadow(evidence, real.data.coin_half(number)))
    return found


def leaking_patients(sampled: Sampled, real: RealImages, alpha: float) -> list[str]:
    """Return the patients whose training images sampled pictures copy."""
    match = real.match(sampled.copy_features)
    threshold, _ = real.copy_threshold(alpha)
    subjects = real.subjects("train")
    return sorted({subjects[int(row)] for row in match.row[match.similarity > threshold]})


def _model(
    pipeline: Pipeline, real: RealImages, options: AuditOptions, output: Path, device: str, label: str
) -> CachedModel:
    sampling = options.scoring.sampling
    assert sampling is not None
    size = real.data.transform.size
    return CachedModel(pipeline.to(device), size, sampling, folder=output / "draws", label=label)


def _evidence_of_pictures(source: Source, real: RealImages) -> Evidence:
    assert source.pictures is not None
    images = file_pixels(list(source.pictures["path"]), real.data.transform)
    texts = real.texts("train")
    row_of = {text: row for row, text in reversed(list(enumerate(texts)))}
    rows = [row_of.get(text, -1) for text in source.pictures["text"]]
    patients: dict[str, set[str]] = {}
    for text, subject in zip(texts, real.subjects("train"), strict=True):
        patients.setdefault(text, set()).add(subject)
    owners = [patients.get(text, set()) for text in source.pictures["text"]]
    names = [next(iter(owner)) if len(owner) == 1 else f"picture {i}" for i, owner in enumerate(owners)]
    features, copy_features = real.encoder.encode(images), real.copy_encoder.encode(images)
    return Evidence({Samples("train"): Sampled(rows, names, images, features, copy_features)})


def _write(
    found: list[Audited], differences: list[Difference], real: RealImages, options: AuditOptions, output: Path
) -> None:
    about = {
        "command": " ".join(["memcontrol", *(FOLDERS.sub("", argument) for argument in sys.argv[1:])]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions_of(PACKAGES),
        "training_images": len(real.training),
        "training_patients": len(set(real.subjects("train"))),
        "heldout_images": len(real.heldout),
        "heldout_patients": len(set(real.subjects(real.heldout_split))),
        "encoder": real.encoder.name,
        "scoring": _described(options.scoring),
    }
    record: dict[str, Any] = {
        **about,
        "audited": [
            {
                "kind": item.source.kind,
                "name": item.source.name,
                "verdict": item.verdict.to_dict(),
                "exchangeability": item.fairness.to_dict() if item.fairness is not None else None,
                "measures": [m.to_dict() for m in item.measurements],
                "extraction": asdict(item.extraction) if item.extraction else None,
                "guarantee": item.guarantee.to_dict() if item.guarantee is not None else None,
                "epsilon_seen": item.used.to_dict() if item.used is not None else None,
            }
            for item in found
        ],
        "differences": [asdict(d) for d in differences],
    }
    write_json(output / AUDIT, record)
    write_patients_record(output, real.data)
    write_patients({item.source.name: item.ranked for item in found if item.ranked is not None}, output / "leaking.csv")
    write_report(found, differences, real, options, about, output / "report.html")
    for item in found:
        _tell_the_run(item, about)


def _tell_the_run(item: Audited, about: dict[str, Any]) -> None:
    """Leave the verdict in the run's own folder, whose model card repeats it."""
    card, run = item.source.card, find_run(item.source.path) or item.source.path
    if card is None or not run.is_dir():
        return
    verdict = {
        **{name: about[name] for name in ("date", "training_patients", "heldout_patients")},
        **{name: getattr(item.verdict, name) for name in ("outcome", "sentence", "details")},
        "version": about["versions"]["memcontrol"],
        "step": card.step,
        "scale": card.scale,
    }
    adapter = next((folder for folder in (run / ADAPTER, run) if (folder / CARD).is_file()), None)
    try:
        write_verdict(run, verdict)
        if adapter is not None and (written := Card.read(adapter)) is not None:
            write_model_card(adapter, written, run)
    except OSError as error:
        log.warning("The verdict could not be written into %s, so no model card tells it: %s", run, error.strerror)


def _described(scoring: ScoringOptions) -> dict[str, Any]:
    """Return options as plain values, without the encoder, which is named by itself."""
    values = asdict(replace(scoring, encoder=None))
    return {name: changes_of(value) for name, value in values.items() if name != "encoder"}
