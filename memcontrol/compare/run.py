"""`compare`: run every cell that has no evidence yet, then make table, plot and claims from the evidence."""

from __future__ import annotations

import logging
import os
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from memcontrol.compare.cells import CellSpec, choose, digest_of, score_cell
from memcontrol.compare.claims import judge_claims, read_rows
from memcontrol.compare.options import CompareOptions
from memcontrol.compare.report import write_report
from memcontrol.errors import SearchError
from memcontrol.search.engine import LocalWorkers
from memcontrol.search.journal import Journal
from memcontrol.search.points import read_points
from memcontrol.search.records import Point
from memcontrol.search.rescore import checkpoint_of
from memcontrol.search.trial import TrialSpec, run_trial

__all__ = ["compare"]

log = logging.getLogger("memcontrol")
BASE = "base"


@dataclass(frozen=True)
class _Run:
    method: str
    overlay: Path
    seed: int
    lr: float

    def folder(self, root: Path) -> Path:
        return root / "runs" / f"{self.method}-seed{self.seed}-lr{self.lr:g}"


def compare(config: dict[str, Any], options: CompareOptions, trust: bool = False) -> Path:
    """Compare methods, or go on with it.

    Args:
        config: Resolved config of the runs, as plain values.
        options: Options.
        trust: Whether the configs are trusted to import code.

    Returns:
        The report.

    Raises:
        SearchError: If the folder holds a comparison under another config, or all runs of a method failed.
    """
    root = Path(options.folder)
    text = yaml.safe_dump({k: config[k] for k in ("seed_everything", "model", "data", "trainer")}, sort_keys=False)
    overlays = options.overlays()
    journal = Journal(root / "journal.jsonl")
    with journal.writing():
        _check_digest(journal, digest_of(options, text, overlays), root)
        (root / "config.yaml").write_text(text)
        executor = LocalWorkers(options.workers)
        try:
            _train(_pending(root, options, overlays, journal), root, options, journal, executor, trust)
            _score(root, options, overlays, journal, executor, trust)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
    rows = read_rows(Path(options.evidence))
    claims = judge_claims(rows, options.memorization, options.quality, options.margin)
    report = write_report(rows, claims, options, root)
    for claim in claims:
        log.info("Claim %d, %s: %s (%s)", claim.number, claim.text, claim.verdict, claim.figure)
    log.info("The comparison is in %s", report)
    return report


def _check_digest(journal: Journal, digest: str, root: Path) -> None:
    known = {event["digest"] for event in journal.events() if event["event"] == "open"}
    if known and digest not in known:
        raise SearchError(
            f"The comparison in {root} was made under another config, so its cells do not compare. Go back to that "
            "config (config.yaml there), or name another folder with `--compare.folder` and `--compare.evidence`."
        )
    if not known:
        journal.append("open", digest=digest)


def _evidence(options: CompareOptions, method: str, seed: int) -> Path:
    return Path(options.evidence) / f"{method}-seed{seed}.json"


def _pending(root: Path, options: CompareOptions, overlays: dict[str, Path], journal: Journal) -> list[_Run]:
    """Return the runs of cells without evidence that are not done yet, one seed of all methods after the other."""
    done = {event["folder"] for event in journal.events() if event["event"] == "run"}
    runs = [
        _Run(method, overlay, seed, lr * _factor(overlay))
        for seed in options.seeds
        for method, overlay in overlays.items()
        for lr in options.lrs
        if method != BASE and not _evidence(options, method, seed).is_file()
    ]
    return [run for run in runs if run.folder(root).name not in done]


def _factor(overlay: Path) -> float:
    """Read `# lr_factor: x` of a method's overlay: full fine-tuning wants smaller steps than 15,000 shifts do."""
    for line in overlay.read_text().splitlines():
        if line.startswith("# lr_factor:"):
            return float(line.split(":", 1)[1])
    return 1.0


def _train(
    runs: list[_Run], root: Path, options: CompareOptions, journal: Journal, executor: Executor, trust: bool
) -> None:
    threads = options.threads or max(1, len(os.sched_getaffinity(0)) // options.workers)
    futures = {}
    for run in runs:
        spec = TrialSpec(
            number=0,
            folder=str(run.folder(root)),
            config=str(root / "config.yaml"),
            mask=None,
            values={"model.optimizer.lr": run.lr},
            seed=run.seed,
            threads=threads,
            trust=trust,
            overlays=(str(run.overlay),),
        )
        futures[executor.submit(run_trial, spec)] = run
    for future in tqdm(as_completed(futures), total=len(futures), desc="runs", unit="run"):
        run = futures[future]
        failure = future.exception()
        error = str(failure) if failure is not None else future.result().error
        journal.append("run", folder=run.folder(root).name, error=error)
        if error is not None:
            log.warning("%s failed: %s", run.folder(root).name, error)


def _score(
    root: Path, options: CompareOptions, overlays: dict[str, Path], journal: Journal, executor: Executor, trust: bool
) -> None:
    specs = []
    for seed in options.seeds:
        for method in (BASE, *(name for name in overlays if name != BASE)):
            if not _evidence(options, method, seed).is_file():
                specs.append(_cell(root, options, method, overlays.get(method), seed, trust))
    futures = {executor.submit(score_cell, spec): spec for spec in specs}
    for future in tqdm(as_completed(futures), total=len(futures), desc="scoring test patients", unit="cell"):
        spec = futures[future]
        journal.append("cell", method=spec.method, seed=spec.seed, evidence=future.result(), chosen=spec.chosen)


def _cell(root: Path, options: CompareOptions, method: str, overlay: Path | None, seed: int, trust: bool) -> CellSpec:
    configs = (str(root / "config.yaml"), *((str(overlay),) if overlay is not None else ()))
    evidence = str(_evidence(options, method, seed))
    if method == BASE or overlay is None:
        return CellSpec(method, seed, configs[:1], None, {}, options, evidence, trust)
    candidates: list[tuple[float, Point]] = []
    folders = {}
    for lr in options.lrs:
        run = _Run(method, overlay, seed, lr * _factor(overlay))
        try:
            points = read_points(run.folder(root), [options.memorization, options.quality])
        except SearchError as error:
            log.warning("%s is left out: %s", run.folder(root).name, error)
            continue
        folders[run.lr] = run.folder(root)
        candidates += [(run.lr, p) for p in points if checkpoint_of(run.folder(root), p.step) is not None]
    lr, point = choose(candidates, options.margin)
    checkpoint = checkpoint_of(folders[lr], point.step)
    chosen = {"lr": lr, "step": float(point.step)}
    return replace(CellSpec(method, seed, configs, str(checkpoint), chosen, options, evidence, trust))
