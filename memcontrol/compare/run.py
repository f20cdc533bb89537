"""`compare`: run every cell that has no evidence yet, then make table, plot and claims from the evidence.

Learning rate and step of a method are chosen with the first seed, on validation patients; the other seeds repeat the
choice.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from memcontrol.callbacks import RewardsCallback
from memcontrol.compare.cells import LIRA, CellSpec, choose, score_cell
from memcontrol.compare.claims import judge_claims
from memcontrol.compare.evidence import Candidate, CellEvidence
from memcontrol.compare.methods import BASE, FULL, Method, best_by_hand, is_configuration, methods_of
from memcontrol.compare.options import CompareOptions
from memcontrol.compare.report import write_report
from memcontrol.compare.rows import read_rows
from memcontrol.compare.searches import check_searches, read_fronts
from memcontrol.compare.setting import Setting, setting_of
from memcontrol.errors import DivergedError, SearchError
from memcontrol.files.atomic import write_text
from memcontrol.files.checkpoints import checkpoint_of, find_checkpoint
from memcontrol.files.configs import ResolvedConfig
from memcontrol.files.journal import JOURNAL, Journal
from memcontrol.files.redaction import paths_of, shareable
from memcontrol.files.run_folder import CONFIG, LOG
from memcontrol.jobs.job import Job, Value, overlay_of
from memcontrol.jobs.loop import JobLoop, result_of
from memcontrol.jobs.workers import local_workers, num_devices
from memcontrol.measures import Point
from memcontrol.search.points import read_points
from memcontrol.search.study import narrowed

__all__ = ["compare"]

log = logging.getLogger("memcontrol")


@dataclass(frozen=True)
class _Run:
    """A fit.

    Args:
        method: Its method.
        seed: Its seed.
        lr: Its learning rate.
        step: The step that was chosen, where this repeats a choice: it ends there, unvalidated.
        half: Number of the random half of the patients that a shadow model is trained on, see `data.coin_flips`.
    """

    method: Method
    seed: int
    lr: float
    step: int | None = None
    half: int | None = None

    @property
    def name(self) -> str:
        if self.half is not None:
            return f"{self.method.name}-shadow{self.half:03d}-lr{self.lr:g}-step{self.step}"
        return f"{self.method.name}-seed{self.seed}-lr{self.lr:g}"

    @property
    def values(self) -> dict[str, Value]:
        repeats: dict[str, Value] = (
            {} if self.step is None else {"trainer.max_steps": self.step, "trainer.limit_val_batches": 0}
        )
        on_half: dict[str, Value] = (
            {} if self.half is None else {"data.coin_flips": self.half, "data.memorization.num_images": 0}
        )
        return {"model.optimizer.lr": self.lr, **repeats, **on_half}


def compare(
    config: ResolvedConfig,
    callbacks: Sequence[Any],
    options: CompareOptions,
    entry: str,
    build: str,
    trust: bool = False,
) -> Path:
    """Compare methods, or go on with it.

    Args:
        config: Config of the runs.
        callbacks: The callbacks that it names, in its order.
        options: Options.
        entry: What runs a run, as `module:function`.
        build: What makes trainer, module and data of a config, as `module:function`.
        trust: Whether the config is trusted to import code.

    Returns:
        The report.

    Raises:
        SearchError: If the folder holds a comparison under another config, all runs of a method failed, or there is
            no evidence to report on.
    """
    root = Path(options.folder)
    check_searches(options.searches)
    if not options.report_only:
        _check_rewards(callbacks, options)
        _Comparison(root, config, callbacks, options, entry, build, trust).complete()
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

    def __init__(
        self,
        root: Path,
        config: ResolvedConfig,
        callbacks: Sequence[Any],
        options: CompareOptions,
        entry: str,
        build: str,
        trust: bool,
    ) -> None:
        self.root = root
        self.config = config
        self.callbacks = callbacks
        self.options = options
        self.entry = entry
        self.build = build
        self.trust = trust
        self.journal = Journal(root / JOURNAL)
        self.workers = options.workers or max(1, num_devices())
        self.setting: Setting = setting_of(options, config)
        self.paths = tuple(paths_of(config.values.get("data", {})))
        self.shadowed: frozenset[str] = frozenset()

    def complete(self) -> None:
        """Train and score every cell that has no evidence yet."""
        Path(self.options.evidence).mkdir(parents=True, exist_ok=True, mode=0o700)
        methods = methods_of(self.options, self.root / "methods")
        first, *others = self.options.seeds
        with self.journal.writing():
            self._check_digest()
            self._check_settings(methods)
            write_text(self.root / CONFIG, yaml.safe_dump(self._config_of_runs(), sort_keys=False))
            executor = local_workers(self.workers)
            try:
                self._train(self._tuning(methods, first), executor)
                choices = {m.name: self._chosen(m, first) for m in methods if m.name != BASE}
                self.shadowed = self._shadowed(choices)
                repeats = [
                    _Run(m, seed, choices[m.name].lr, choices[m.name].point.step)
                    for seed in others
                    for m in methods
                    if m.name != BASE and self._is_open(m, seed)
                ]
                self._train(repeats, executor)
                self._train(self._shadow_runs(methods, choices), executor)
                self._score(methods, choices, executor)
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def _config_of_runs(self) -> dict[str, Any]:
        """Return the config of runs, which measure what a choice is made by."""
        return narrowed(self.config.run, self.callbacks, [self.options.memorization, self.options.quality])

    def _check_digest(self) -> None:
        known = {event["digest"] for event in self.journal.events() if event["event"] == "open"}
        if known and not any(map(self.setting.matches, known)):
            raise SearchError(
                f"The comparison in {self.root} was made under another config, so its cells do not compare. Go back to "
                "that config (config.yaml there), or name another folder with `--compare.folder` and "
                "`--compare.evidence`."
            )
        if not known:
            self.journal.append("open", digest=self.setting.new)

    def _check_settings(self, methods: Sequence[Method]) -> None:
        """See that what there is was made under this config and these overlays: nothing else compares."""
        events = [event for event in self.journal.events() if event["event"] == "run" and event["error"] is None]
        ran = {event["folder"]: event.get("setting") for event in events}
        for method in methods:
            setting = self.setting.with_overlay(method.overlay)
            made = [self._evidence(method, seed) for seed in self.options.seeds if not self._is_open(method, seed)]
            stale = [str(path) for path in made if not setting.matches(CellEvidence.read(path).setting)]
            stale += [
                str(self.root / "runs" / name)
                for name, of in ran.items()
                if name.startswith(f"{method.name}-seed") and not (of is None or setting.matches(of))
            ]
            if stale:
                raise SearchError(
                    f"{', '.join(stale)} was made under another config, or another overlay of {method.name!r}, so it "
                    "does not compare. Go back to these, give the overlay another name, or name other folders with "
                    "`--compare.folder` and `--compare.evidence`."
                )

    def _evidence(self, method: Method, seed: int) -> Path:
        return Path(self.options.evidence) / f"{method.name}-seed{seed}.json"

    def _is_open(self, method: Method, seed: int) -> bool:
        path = self._evidence(method, seed)
        lacks = method.name in self.shadowed and path.is_file() and LIRA not in CellEvidence.read(path).measurements
        return lacks or not path.is_file()

    def _shadowed(self, choices: dict[str, Candidate]) -> frozenset[str]:
        """Return the methods that shadow models are trained of: what claim 7 compares."""
        found = {name for name in choices if is_configuration(name, choices)}
        if not self.options.shadows or not found:
            return frozenset()
        rewards = {name: choice.point.rewards for name, choice in choices.items()}
        rivals = [FULL, best_by_hand(rewards, self.options.margin)]
        return frozenset(name for name in choices if name in found or name in rivals)

    def _shadow_runs(self, methods: Sequence[Method], choices: dict[str, Candidate]) -> list[_Run]:
        return [
            _Run(m, half + 1, choices[m.name].lr, choices[m.name].point.step, half)
            for m in methods
            if m.name in self.shadowed and any(self._is_open(m, seed) for seed in self.options.seeds)
            for half in range(self.options.shadows)
        ]

    def _folder(self, run: _Run) -> Path:
        return self.root / "runs" / run.name

    def _tuning(self, methods: Sequence[Method], seed: int) -> list[_Run]:
        return [
            _Run(method, seed, lr)
            for method in methods
            for lr in method.lrs(self.options.lrs)
            if method.name != BASE and self._is_open(method, seed)
        ]

    def _train(self, runs: Sequence[_Run], executor: Executor) -> None:
        """Run what has not ended yet; what failed is tried again at the next start.

        Raises:
            SearchError: If some failed for another reason than that training diverged.
        """
        done = {e["folder"] for e in self.journal.events() if e["event"] == "run" and e["error"] is None}
        waiting = {run.name: run for run in runs if run.name not in done}
        jobs: JobLoop[str] = JobLoop(executor)
        for run in waiting.values():
            jobs.submit(run.name, self._job(run))
        failed = {}
        with tqdm(total=len(waiting), desc="runs", unit="run") as bar:
            while jobs.keys:
                for ended in jobs.wait():
                    bar.update()
                    error = self._record(waiting[ended.key], result_of(ended).error)
                    if error is not None and not error.startswith(DivergedError.__name__):
                        failed[ended.key] = error
        if failed:
            raise SearchError(
                f"{len(failed)} runs failed, so a choice between learning rates would leave them out: {failed}. The "
                f"logs are {self.root}/runs/*/{LOG}. Mend it, and run the same command again: what is done is kept."
            )

    def _job(self, run: _Run) -> Job:
        return Job(
            folder=str(self._folder(run)),
            entry=self.entry,
            config=str(self.root / CONFIG),
            overlay=overlay_of(run.values),
            seed=run.seed,
            overlays=(str(run.method.overlay),),
            threads=self.options.threads or max(1, len(os.sched_getaffinity(0)) // self.workers),
            trust=self.trust,
        )

    def _record(self, run: _Run, error: str | None) -> str | None:
        """Write down how a run has ended; returns what may be published of its error."""
        if error is not None:
            error = shareable(error, self._folder(run), self.paths)
            log.warning("%s failed: %s", run.name, error)
        setting = self.setting.with_overlay(run.method.overlay).new
        self.journal.append("run", folder=run.name, error=error, setting=setting)
        return error

    def _chosen(self, method: Method, seed: int) -> Candidate:
        """Return the choice of the first seed, from its evidence or else from its runs."""
        if not self._is_open(method, seed):
            known = CellEvidence.read(self._evidence(method, seed))
            lr, step = known.chosen["lr"], int(known.chosen["step"])
            points = [c.point for c in known.candidates if (c.lr, c.point.step) == (lr, step)]
            return Candidate(lr, points[0] if points else Point(step, ()))
        candidates = self._candidates(method, seed)
        if not candidates:
            errors = {e["folder"]: e["error"] for e in self.journal.events() if e["event"] == "run" and e["error"]}
            mine = {name: text for name, text in errors.items() if name.startswith(f"{method.name}-seed{seed}-")}
            raise SearchError(
                f"No run of the method {method.name!r} has left a validation, so there is nothing to choose from: "
                f"{mine}. The logs are {self.root}/runs/*/{LOG}. Mend it, and run the same command again."
            )
        return candidates[-1] if method.lr is not None else choose(candidates, self.options.margin)

    def _candidates(self, method: Method, seed: int) -> list[Candidate]:
        found = []
        for lr in method.lrs(self.options.lrs):
            run = _Run(method, seed, lr)
            points, why = read_points(self._folder(run), [self.options.memorization, self.options.quality])
            if why is not None:
                log.warning("A validation of %s is left out: %s", run.name, why)
            found += [Candidate(run.lr, point) for point in points]
        return found

    def _score(self, methods: Sequence[Method], choices: dict[str, Candidate], executor: Executor) -> None:
        jobs: JobLoop[tuple[str, int]] = JobLoop(executor, function=score_cell, label="cell")
        for seed in self.options.seeds:
            for method in methods:
                if self._is_open(method, seed):
                    jobs.submit((method.name, seed), self._cell(method, seed, choices.get(method.name)))
        failed = {}
        with tqdm(total=len(jobs.keys), desc="scoring test patients", unit="cell") as bar:
            while jobs.keys:
                for ended in jobs.wait():
                    bar.update()
                    name, seed = ended.key
                    if ended.error is not None:
                        failed[f"{name}-seed{seed}"] = f"{type(ended.error).__name__}: {ended.error}"
                        continue
                    self.journal.append("cell", method=name, seed=seed, evidence=ended.result)
        if failed:
            raise SearchError(
                f"{len(failed)} cells could not be scored: {failed}. Mend it, and run the same command again: the "
                "others are kept."
            )

    def _cell(self, method: Method, seed: int, choice: Candidate | None) -> CellSpec:
        configs = [self.root / CONFIG, *([method.overlay] if method.overlay is not None else [])]
        checkpoint = None
        if choice is not None:
            folder = self._folder(_Run(method, seed, choice.lr))
            checkpoint = checkpoint_of(folder, choice.point.step)
            if checkpoint is None:
                raise SearchError(
                    f"The run {folder.name} has left no checkpoint of step {choice.point.step}; its log is "
                    f"{folder / LOG}. Mend it, and run the same command again."
                )
        is_tuned = choice is not None and seed == self.options.seeds[0]
        return CellSpec(
            build=self.build,
            method=method.name,
            seed=seed,
            setting=self.setting.with_overlay(method.overlay).new,
            configs=tuple(map(str, configs)),
            checkpoint=str(checkpoint) if checkpoint is not None else None,
            chosen={"lr": choice.lr, "step": choice.point.step} if choice is not None else {},
            candidates=tuple(self._candidates(method, seed)) if is_tuned else (),
            options=self.options,
            evidence=str(self._evidence(method, seed)),
            pictures=str(self.root / "pictures" / f"{method.name}-seed{seed}.png"),
            mitigates=method.mitigates,
            shadows=tuple(map(str, self._shadow_models(method, choice))),
            trust=self.trust,
        )

    def _shadow_models(self, method: Method, choice: Candidate | None) -> list[Path]:
        """Return the checkpoints of a method's shadow models."""
        if choice is None or method.name not in self.shadowed:
            return []
        runs = [_Run(method, k + 1, choice.lr, choice.point.step, k) for k in range(self.options.shadows)]
        return [find_checkpoint(self._folder(run)) for run in runs]


def _check_rewards(callbacks: Sequence[Any], options: CompareOptions) -> None:
    """See that runs are rewarded for what the comparison is about: they keep no other checkpoints.

    Raises:
        SearchError: If not.
    """
    wanted = (options.memorization, options.quality)
    pairs = [(c.memorization, c.quality) for c in callbacks if isinstance(c, RewardsCallback)]
    if any(c.scales for c in callbacks if isinstance(c, RewardsCallback)):
        raise SearchError(
            "`compare` scores each run at its own `model.scale`, but RewardsCallback names `scales`. Leave these out, "
            "and give a method's overlay a `model.scale`."
        )
    if pairs != [wanted]:
        raise SearchError(
            f"`compare` needs one RewardsCallback whose `memorization` and `quality` are {wanted}, as its own, but "
            f"`trainer.callbacks` has {pairs or 'none'}."
        )
