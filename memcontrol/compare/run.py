"""`compare`: run every cell that has no evidence yet, then make table, plot and claims from the evidence.

Learning rate and step of a method are chosen with the first seed, on validation patients; the other seeds repeat the
choice.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from memcontrol.compare.cells import Candidate, CellSpec, choose, digest_of, score_cell, setting_of
from memcontrol.compare.claims import judge_claims
from memcontrol.compare.methods import BASE, Method, methods_of
from memcontrol.compare.options import CompareOptions
from memcontrol.compare.report import write_report
from memcontrol.compare.rows import read_rows
from memcontrol.compare.searches import check_searches, read_fronts
from memcontrol.errors import DivergedError, SearchError
from memcontrol.search.engine import local_workers, num_devices
from memcontrol.search.journal import Journal
from memcontrol.search.points import read_points
from memcontrol.search.private import shareable
from memcontrol.search.rescore import checkpoint_of
from memcontrol.search.space import Value
from memcontrol.search.texts import paths_of
from memcontrol.search.trial import TrialSpec, run_trial

__all__ = ["compare"]

log = logging.getLogger("memcontrol")


@dataclass(frozen=True)
class _Run:
    """A fit; with `step`, one that repeats a choice and ends there without validation."""

    method: Method
    seed: int
    lr: float
    step: int | None = None

    @property
    def name(self) -> str:
        return f"{self.method.name}-seed{self.seed}-lr{self.lr:g}"

    @property
    def values(self) -> dict[str, Value]:
        repeats: dict[str, Value] = (
            {} if self.step is None else {"trainer.max_steps": self.step, "trainer.limit_val_batches": 0}
        )
        return {"model.optimizer.lr": self.lr, **repeats}


def compare(config: dict[str, Any], options: CompareOptions, trust: bool = False) -> Path:
    """Compare methods, or go on with it.

    Args:
        config: Resolved config of the runs, as plain values.
        options: Options.
        trust: Whether the configs are trusted to import code.

    Returns:
        The report.

    Raises:
        SearchError: If the folder holds a comparison under another config, all runs of a method failed, or there is
            no evidence to report on.
    """
    root = Path(options.folder)
    check_searches(options.searches)
    if not options.report_only:
        _Comparison(root, options, trust).complete(config)
    rows = read_rows(Path(options.evidence), options)
    names = (options.memorization, options.quality)
    fronts = read_fronts(options.searches, names, rows[0].directions) if options.searches else []
    claims = judge_claims(rows, options, fronts)
    report = write_report(rows, claims, fronts, options, root)
    for claim in claims:
        log.info("Claim %d, %s: %s (%s)", claim.number, claim.text, claim.verdict, claim.figure)
    log.info("The comparison is in %s", report)
    return report


class _Comparison:
    """The cells of a comparison in its folder."""

    def __init__(self, root: Path, options: CompareOptions, trust: bool) -> None:
        self.root = root
        self.options = options
        self.trust = trust
        self.journal = Journal(root / "journal.jsonl")
        self.workers = options.workers or max(1, num_devices())
        self.digest = ""
        self.paths: tuple[str, ...] = ()

    def complete(self, config: dict[str, Any]) -> None:
        """Train and score every cell that has no evidence yet."""
        text = yaml.safe_dump({k: config[k] for k in ("seed_everything", "model", "data", "trainer")}, sort_keys=False)
        _check_rewards(config, self.options)
        self.paths = tuple(paths_of(config["data"]))
        methods = methods_of(self.options, self.root / "methods")
        first, *others = self.options.seeds
        with self.journal.writing():
            self.digest = digest_of(self.options, text)
            self._check_digest()
            self._check_settings(methods)
            (self.root / "config.yaml").write_text(text)
            executor = local_workers(self.workers)
            try:
                self._train(self._tuning(methods, first), executor)
                choices = {m.name: self._chosen(m, first) for m in methods if m.name != BASE}
                repeats = [
                    _Run(m, seed, choices[m.name].lr, choices[m.name].step)
                    for seed in others
                    for m in methods
                    if m.name != BASE and self._is_open(m, seed)
                ]
                self._train(repeats, executor)
                self._score(methods, choices, executor)
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def _check_digest(self) -> None:
        known = {event["digest"] for event in self.journal.events() if event["event"] == "open"}
        if known and self.digest not in known:
            raise SearchError(
                f"The comparison in {self.root} was made under another config, so its cells do not compare. Go back to "
                "that config (config.yaml there), or name another folder with `--compare.folder` and "
                "`--compare.evidence`."
            )
        if not known:
            self.journal.append("open", digest=self.digest)

    def _check_settings(self, methods: Sequence[Method]) -> None:
        """See that what there is was made under this config and these overlays: nothing else compares."""
        ran = {event["folder"]: event.get("setting") for event in self.journal.events() if event["event"] == "run"}
        for method in methods:
            setting = self._setting(method)
            made = [self._evidence(method, seed) for seed in self.options.seeds if not self._is_open(method, seed)]
            stale = [str(path) for path in made if json.loads(path.read_text()).get("setting") != setting]
            stale += [
                str(self.root / "runs" / name)
                for name, of in ran.items()
                if name.startswith(f"{method.name}-seed") and of not in (None, setting)
            ]
            if stale:
                raise SearchError(
                    f"{', '.join(stale)} was made under another config, or another overlay of {method.name!r}, so it "
                    "does not compare. Go back to these, give the overlay another name, or name other folders with "
                    "`--compare.folder` and `--compare.evidence`."
                )

    def _setting(self, method: Method) -> str:
        return setting_of(self.digest, method.overlay)

    def _evidence(self, method: Method, seed: int) -> Path:
        return Path(self.options.evidence) / f"{method.name}-seed{seed}.json"

    def _is_open(self, method: Method, seed: int) -> bool:
        return not self._evidence(method, seed).is_file()

    def _folder(self, run: _Run) -> Path:
        return self.root / "runs" / run.name

    def _tuning(self, methods: Sequence[Method], seed: int) -> list[_Run]:
        return [
            _Run(method, seed, lr * method.lr_factor)
            for method in methods
            for lr in self.options.lrs
            if method.name != BASE and self._is_open(method, seed)
        ]

    def _train(self, runs: Sequence[_Run], executor: Executor) -> None:
        """Run what has not ended yet; what failed is tried again at the next start.

        Raises:
            SearchError: If some failed for another reason than that training diverged.
        """
        done = {e["folder"] for e in self.journal.events() if e["event"] == "run" and e["error"] is None}
        threads = self.options.threads or max(1, len(os.sched_getaffinity(0)) // self.workers)
        futures, failed = {}, {}
        for run in runs:
            if run.name in done:
                continue
            spec = TrialSpec(
                number=0,
                folder=str(self._folder(run)),
                config=str(self.root / "config.yaml"),
                mask=None,
                values=run.values,
                seed=run.seed,
                threads=threads,
                trust=self.trust,
                overlays=(str(run.method.overlay),),
            )
            futures[executor.submit(run_trial, spec)] = run
        for future in tqdm(as_completed(futures), total=len(futures), desc="runs", unit="run"):
            run = futures[future]
            failure = future.exception()
            error = f"{type(failure).__name__}: {failure}" if failure is not None else future.result().error
            if error is not None:
                error = shareable(error, self._folder(run), self.paths)
            self.journal.append("run", folder=run.name, error=error, setting=self._setting(run.method))
            if error is not None:
                log.warning("%s failed: %s", run.name, error)
                if not error.startswith(DivergedError.__name__):
                    failed[run.name] = error
        if failed:
            raise SearchError(
                f"{len(failed)} runs failed, so a choice between learning rates would leave them out: {failed}. The "
                f"logs are {self.root}/runs/*/trial.log. Mend it, and run the same command again: what is done is kept."
            )

    def _chosen(self, method: Method, seed: int) -> Candidate:
        """Return the choice of the first seed, from its evidence or else from its runs."""
        if not self._is_open(method, seed):
            chosen = json.loads(self._evidence(method, seed).read_text())["chosen"]
            return Candidate(chosen["lr"], int(chosen["step"]), (), {})
        candidates = self._candidates(method, seed)
        if not candidates:
            errors = {e["folder"]: e["error"] for e in self.journal.events() if e["event"] == "run" and e["error"]}
            mine = {name: text for name, text in errors.items() if name.startswith(f"{method.name}-seed{seed}-")}
            raise SearchError(
                f"No run of the method {method.name!r} has left a validation, so there is nothing to choose from: "
                f"{mine}. The logs are {self.root}/runs/*/trial.log. Mend it, and run the same command again."
            )
        return choose(candidates, self.options.margin)

    def _candidates(self, method: Method, seed: int) -> list[Candidate]:
        found = []
        for lr in self.options.lrs:
            run = _Run(method, seed, lr * method.lr_factor)
            points, why = read_points(self._folder(run), [self.options.memorization, self.options.quality])
            if why is not None:
                log.warning("A validation of %s is left out: %s", run.name, why)
            found += [Candidate(run.lr, p.step, p.rewards, p.measures) for p in points]
        return found

    def _score(self, methods: Sequence[Method], choices: dict[str, Candidate], executor: Executor) -> None:
        specs = [
            self._cell(method, seed, choices.get(method.name))
            for seed in self.options.seeds
            for method in methods
            if self._is_open(method, seed)
        ]
        futures = {executor.submit(score_cell, spec): spec for spec in specs}
        failed = {}
        for future in tqdm(as_completed(futures), total=len(futures), desc="scoring test patients", unit="cell"):
            spec = futures[future]
            failure = future.exception()
            if failure is not None:
                failed[f"{spec.method}-seed{spec.seed}"] = f"{type(failure).__name__}: {failure}"
                continue
            self.journal.append("cell", method=spec.method, seed=spec.seed, evidence=future.result())
        if failed:
            raise SearchError(
                f"{len(failed)} cells could not be scored: {failed}. Mend it, and run the same command again: the "
                "others are kept."
            )

    def _cell(self, method: Method, seed: int, choice: Candidate | None) -> CellSpec:
        configs = [self.root / "config.yaml", *([method.overlay] if method.overlay is not None else [])]
        checkpoint = None
        if choice is not None:
            folder = self._folder(_Run(method, seed, choice.lr))
            checkpoint = checkpoint_of(folder, choice.step)
            if checkpoint is None:
                raise SearchError(
                    f"The run {folder.name} has left no checkpoint of step {choice.step}; its log is "
                    f"{folder / 'trial.log'}. Mend it, and run the same command again."
                )
        is_tuned = choice is not None and seed == self.options.seeds[0]
        return CellSpec(
            method=method.name,
            seed=seed,
            setting=self._setting(method),
            configs=tuple(map(str, configs)),
            checkpoint=str(checkpoint) if checkpoint is not None else None,
            chosen={"lr": choice.lr, "step": choice.step} if choice is not None else {},
            candidates=tuple(self._candidates(method, seed)) if is_tuned else (),
            options=self.options,
            evidence=str(self._evidence(method, seed)),
            pictures=str(self.root / "pictures" / f"{method.name}-seed{seed}.png"),
            trust=self.trust,
        )


def _check_rewards(config: dict[str, Any], options: CompareOptions) -> None:
    """See that runs are rewarded for what the comparison is about: they keep no other checkpoints.

    Raises:
        SearchError: If not.
    """
    wanted = (options.memorization, options.quality)
    callbacks = config["trainer"].get("callbacks") or []
    pairs = [
        (c["init_args"]["memorization"], c["init_args"]["quality"])
        for c in callbacks
        if c["class_path"].rpartition(".")[2] == "RewardsCallback"
    ]
    if pairs != [wanted]:
        raise SearchError(
            f"`compare` needs one RewardsCallback whose `memorization` and `quality` are {wanted}, as its own, but "
            f"`trainer.callbacks` has {pairs or 'none'}."
        )
