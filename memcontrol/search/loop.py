"""The outer loop: ask, train, reward, append, tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final

from tqdm import tqdm

from memcontrol.errors import CheckpointError
from memcontrol.files.checkpoints import keep_the_last
from memcontrol.files.journal import Journal
from memcontrol.files.provenance import provenance
from memcontrol.files.redaction import shareable
from memcontrol.jobs.job import Job, JobResult
from memcontrol.jobs.loop import Done, JobLoop, result_of
from memcontrol.measures import Point
from memcontrol.measures.statistics.pareto import front
from memcontrol.search.estimate import estimate
from memcontrol.search.front import trials_since_growth
from memcontrol.search.points import best_point, expected_point, read_points, worst_of
from memcontrol.search.proposer import Proposer
from memcontrol.search.records import TrialLog, TrialRecord, TrialState
from memcontrol.search.rehearsal import rehearse
from memcontrol.search.space import Proposal
from memcontrol.search.stop import Cause, FailureRow, cause_of, reopen, stop
from memcontrol.search.study import Study
from memcontrol.search.tracking import trial_logger
from memcontrol.seeds import derive_seed

__all__ = ["OuterLoop"]

log = logging.getLogger("memcontrol")
MIN_TRIALS_TO_PRUNE: Final = 10
PRUNING: Final = "memcontrol.search.pruning_callback.PruningCallback"


class OuterLoop:
    """Runs a study to the end of its budget.

    Args:
        study: The study.
        journal: Its journal, held for writing.
        proposer: Proposes; it must be fresh.
        executor: Runs trials.
        workers: Trials at once.
        threads: CPU threads of each trial.
        report: Called after each trial, to write what can be looked at.
    """

    def __init__(
        self,
        study: Study,
        journal: Journal,
        proposer: Proposer,
        executor: Executor,
        workers: int,
        threads: int | None,
        report: Callable[[list[TrialRecord]], object],
    ) -> None:
        self.study = study
        self.journal = journal
        self.trials = TrialLog(journal)
        self.proposer = proposer
        self.executor = executor
        self.jobs: JobLoop[int] = JobLoop(executor, study.options.retries, label="trial")
        self.workers = workers
        self.threads = threads
        self.report = report
        self.proposals: dict[int, Proposal] = {}
        self.failures = FailureRow()
        self._is_estimated = False
        self.started = time.monotonic()
        self.spent = journal.active_seconds(2 * study.options.heartbeat_s)

    def run(self) -> list[TrialRecord]:
        """Ask, train, reward, append, tell, until the budget is spent; returns all trials.

        Raises:
            SearchError: If trials fail one after another before any has completed; those that run are waited for.
        """
        reopen(self.journal)
        cut_off = self._replay()
        if not self.records:
            self._rehearse()
        for number in cut_off:
            self._start(number)
        total = self.study.options.trials
        with tqdm(total=total, initial=self._num_finished, desc="trials", unit="trial") as bar:
            while True:
                while len(self.jobs.keys) < self.workers and self._has_budget() and not self._is_stuck:
                    asked = self._ask()
                    if asked is None:
                        break
                    self._start(asked)
                if not self.jobs.keys:
                    break
                for done in self._wait():
                    self._finish(done)
                bar.set_postfix(self._best(), refresh=False)
                bar.n = self._num_finished
                bar.refresh()
        if self._is_stuck:
            raise stop(self.study, self.journal, self.records)
        return self.records

    @property
    def records(self) -> list[TrialRecord]:
        """What is known of all trials, by number."""
        return self.trials.all()

    def _best(self) -> dict[str, str]:
        """Return the best value of each objective so far, and how many points the front has, for the bar."""
        points = [point for record in self.records for point in record.points]
        if not points:
            return {}
        names = self.study.options.objectives
        best = {name: max(points, key=lambda p, k=k: p.rewards[k]) for k, name in enumerate(names)}  # type: ignore[misc]
        shown = {name: f"{point.measures[name].value:.3g}" for name, point in best.items()}
        return {"front": str(len(front([point.rewards for point in points]))), **shown}

    # Steps

    def _replay(self) -> list[int]:
        """Ask and tell again what the journal holds; returns the trials that were cut off or opened again.

        Where another version proposes otherwise, what the journal holds counts: trials are dear, and a study goes on
        with what they told.
        """
        cut_off: set[int] = set()
        is_same = True
        for event in self.journal.events():
            if event["event"] == "ask":
                proposal = self.study.space.proposal(event["mask"], event["units"])
                asked = self.proposer.ask() if is_same else None
                if is_same and (asked is None or asked.digest != proposal.digest):
                    is_same = False
                    log.warning(
                        "Trial %d of the journal was proposed by another version of memcontrol or nevergrad (%s). The "
                        "study goes on with all that its trials have told, but a study that is begun with this version "
                        "would propose others.",
                        event["number"],
                        event["versions"],
                    )
                if not is_same:
                    self.proposer.take(proposal)
                self.proposals[event["number"]] = proposal
                cut_off.add(event["number"])
            elif event["event"] == "finish":
                cut_off.remove(event["number"])
                if event["told"] is not None:
                    self.proposer.tell(self.proposals[event["number"]], event["told"]["rewards"])
            elif event["event"] == "reopen":
                cut_off.update(event["numbers"])
        return sorted(cut_off)

    def _ask(self) -> int | None:
        proposal = self.proposer.ask()
        if proposal is None:
            log.info("Every mask of the space has been tried")
            return None
        number = len(self.records)
        self.journal.append(
            "ask",
            number=number,
            mask=list(proposal.mask),
            units=list(proposal.units),
            values=dict(proposal.values),
            digest=proposal.digest,
            slots=list(self.study.space.slots),
            seed=derive_seed(self.study.options.seed, "trial", number) % 2**31,
            study=self.study.digest,
            **provenance(),
        )
        self.proposals[number] = proposal
        return number

    def _rehearse(self) -> None:
        """Say what the study will take, from a few steps of what it begins with."""
        # elsewhere, workers may come hours apart, and none should wait for the last
        proposals = self.proposer.preview(self.workers if self.study.options.executor is None else 1)
        said = rehearse(self.study, self.executor, [self._job(0, p.mask, p.units, 0) for p in proposals], self.workers)
        if said is not None:
            self._is_estimated = True
            log.info("%s", said)

    def _job(self, number: int, mask: Sequence[int], units: Sequence[float], seed: int) -> Job:
        return Job(
            folder=str(self.study.trial(number)),
            entry=self.study.entry,
            config=str(self.study.config),
            overlay=self.study.space.overlay(mask, units),
            seed=seed,
            devices=self.study.options.devices_per_trial,
            threads=self.threads,
            trust=self.study.trust,
        )

    def _start(self, number: int) -> None:
        record, options = self.records[number], self.study.options
        prunes = options.prune and self._num_finished >= MIN_TRIALS_TO_PRUNE
        pruning = {"journal": str(self.study.journal), "objectives": list(options.objectives)}
        callbacks = ({"class_path": PRUNING, "init_args": pruning},) if prunes else ()
        job = self._job(number, record.mask, record.units, record.seed)
        self.jobs.submit(number, replace(job, callbacks=callbacks, logger=trial_logger(self.study, number)))

    def _wait(self) -> list[Done[int]]:
        done = self.jobs.wait(self.study.options.heartbeat_s)
        if not done:
            self.journal.append("heartbeat", running=sorted(self.jobs.keys))
        return sorted(done, key=lambda ended: ended.key)

    def _finish(self, done: Done[int]) -> None:
        number, result = done.key, result_of(done)
        state, points, reported, error = self._outcome(number, result)
        cause = cause_of(error, done.has_died) if error is not None else None
        if cause is Cause.DIVERGED:
            # else what diverges would be proposed again and again
            reported = worst_of([point for record in self.records for point in record.points])
        self.journal.append(
            "finish",
            number=number,
            state=state.value,
            points=[point.to_dict() for point in points],
            told={"step": reported.step, "rewards": list(reported.rewards)} if reported else None,
            error=error,
            seconds=result.seconds,
            attempts=done.attempts,
            cause=cause,
        )
        if reported is not None:
            self.proposer.tell(self.proposals[number], reported.rewards)
        if error is None:
            self._tidy(number)
        else:
            log.warning("Trial %d failed: %s Its folder is %s", number, error, self.study.trial(number))
        self.failures.add(cause)
        self.report(self.records)
        left = self.study.options.trials - self._num_finished
        if state is TrialState.COMPLETE and not self._is_estimated and left > 0:
            self._is_estimated = True
            log.info("%s", estimate(result.seconds, self.study.trial(number), left, self.workers))

    def _tidy(self, number: int) -> None:
        """Remove what only a trial that goes on would need: of 200 trials, it fills disks."""
        try:
            keep_the_last(self.study.trial(number))
        except CheckpointError as error:
            log.warning("Trial %d keeps its optimizer: %s", number, error)

    def _outcome(
        self, number: int, result: JobResult
    ) -> tuple[TrialState, tuple[Point, ...], Point | None, str | None]:
        folder, records = self.study.trial(number), self.records
        points, why = read_points(folder, self.study.options.objectives)
        if not points and why is None:
            why = "The trial ended without a validation. Lower `trainer.val_check_interval`."
        error = result.error or why
        if error is not None:
            return TrialState.FAILED, points, None, shareable(error, folder, self.study.paths)
        if result.pruned:
            whole = [r.points for r in records if r.state is TrialState.COMPLETE]
            return TrialState.PRUNED, points, expected_point(points[-1], whole), None
        others = [point for record in records for point in record.points]
        return TrialState.COMPLETE, points, best_point(points, others, number, self.study.options.seed), None

    # Budget

    @property
    def _is_stuck(self) -> bool:
        return self.failures.is_too_long(self.records, self.workers)

    @property
    def _num_finished(self) -> int:
        return sum(record.state.is_finished for record in self.records)

    def _has_budget(self) -> bool:
        options, records = self.study.options, self.records
        if len(records) >= options.trials:
            return False
        if options.hours is not None and self.spent + time.monotonic() - self.started > 3600 * options.hours:
            return False
        return options.patience is None or trials_since_growth(records) < options.patience
