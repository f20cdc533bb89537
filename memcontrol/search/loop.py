"""The outer loop: ask, train, reward, append, tell."""

from __future__ import annotations

import logging
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from memcontrol.errors import SearchError
from memcontrol.search.front import trials_since_growth
from memcontrol.search.journal import Journal
from memcontrol.search.points import best_point, expected_point, read_points
from memcontrol.search.private import shareable
from memcontrol.search.proposer import Proposer
from memcontrol.search.provenance import provenance
from memcontrol.search.records import Point, TrialRecord, TrialState
from memcontrol.search.space import Proposal
from memcontrol.search.stop import FailureRow, cause_of, reopen, stop
from memcontrol.search.study import Study
from memcontrol.search.tracking import trial_logger
from memcontrol.search.trial import TrialResult, TrialSpec, run_trial
from memcontrol.seeds import derive_seed

__all__ = ["OuterLoop"]

log = logging.getLogger("memcontrol")
MIN_TRIALS_TO_PRUNE = 10


@dataclass
class _Job:
    proposal: Proposal
    number: int
    seed: int
    attempts: int = 1
    halved: int = 0


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
        report: Any,
    ) -> None:
        self.study = study
        self.journal = journal
        self.proposer = proposer
        self.executor = executor
        self.workers = workers
        self.threads = threads
        self.report = report
        self.running: dict[Future[TrialResult], _Job] = {}
        self.records: dict[int, TrialRecord] = {}
        self.failures = FailureRow()
        self.started = time.monotonic()
        self.spent = journal.active_seconds(2 * study.options.heartbeat_s)

    def run(self) -> list[TrialRecord]:
        """Ask, train, reward, append, tell, until the budget is spent; returns all trials.

        Raises:
            SearchError: If trials fail one after another before any has completed; those that run are waited for.
        """
        reopen(self.journal)
        for job in self._replay():
            self._start(job)
        total = self.study.options.trials
        with tqdm(total=total, initial=self._num_finished, desc="trials", unit="trial") as bar:
            while True:
                while len(self.running) < self.workers and self._has_budget() and not self._is_stuck:
                    asked = self._ask()
                    if asked is None:
                        break
                    self._start(asked)
                if not self.running:
                    break
                for future in self._wait():
                    self._finish(future)
                bar.n = self._num_finished
                bar.refresh()
        if self._is_stuck:
            raise stop(self.study, self.journal, self._all)
        return self._all

    # Steps

    def _replay(self) -> list[_Job]:
        """Ask and tell again what the journal holds; returns the trials that were cut off or opened again."""
        jobs: dict[int, _Job] = {}
        cut_off: set[int] = set()
        for event in self.journal.events():
            if event["event"] == "ask":
                proposal = self.study.space.proposal(event["mask"], event["units"])
                asked = self.proposer.ask()
                if asked is None or asked.digest != proposal.digest:
                    raise SearchError(
                        f"Trial {event['number']} of the journal cannot be proposed again: nevergrad or memcontrol has "
                        f"another version ({event['versions']}). Install these, or name another `--search.study`."
                    )
                jobs[event["number"]] = _Job(proposal, event["number"], event["seed"])
                cut_off.add(event["number"])
            elif event["event"] == "finish":
                cut_off.remove(event["number"])
                if event["told"] is not None:
                    self.proposer.tell(jobs[event["number"]].proposal, event["told"]["rewards"])
            elif event["event"] == "reopen":
                cut_off.update(event["numbers"])
        self.records = {record.number: record for record in self.journal.trials()}
        return [jobs[number] for number in sorted(cut_off)]

    def _ask(self) -> _Job | None:
        proposal = self.proposer.ask()
        if proposal is None:
            log.info("Every mask of the space has been tried")
            return None
        number = len(self.records)
        seed = derive_seed(self.study.options.seed, "trial", number) % 2**31
        record = TrialRecord(
            number, TrialState.RUNNING, proposal.mask, proposal.units, dict(proposal.values), proposal.digest, seed
        )
        self.journal.append(
            "ask",
            number=number,
            mask=list(proposal.mask),
            units=list(proposal.units),
            values=dict(proposal.values),
            digest=proposal.digest,
            slots=list(self.study.space.slots),
            seed=seed,
            study=self.study.digest,
            **provenance(),
        )
        self.records[number] = record
        return _Job(proposal, number, seed)

    def _start(self, job: _Job) -> None:
        prunes = self.study.options.prune and self._num_finished >= MIN_TRIALS_TO_PRUNE
        spec = TrialSpec(
            number=job.number,
            folder=str(self.study.trial(job.number)),
            config=str(self.study.config),
            mask=job.proposal.mask if self.study.space.slots else None,
            values=dict(job.proposal.values),
            seed=job.seed,
            devices=self.study.options.devices_per_trial,
            threads=self.threads,
            trust=self.study.trust,
            halved=job.halved,
            prune_with=str(self.study.journal) if prunes else None,
            objectives=tuple(self.study.options.objectives),
            logger=trial_logger(self.study, job.number),
        )
        self.running[self.executor.submit(run_trial, spec)] = job

    def _wait(self) -> list[Future[TrialResult]]:
        done, _ = wait(self.running, timeout=self.study.options.heartbeat_s, return_when=FIRST_COMPLETED)
        if not done:
            self.journal.append("heartbeat", running=sorted(job.number for job in self.running.values()))
        return sorted(done, key=lambda future: self.running[future].number)

    def _finish(self, future: Future[TrialResult]) -> None:
        job = self.running.pop(future)
        error = future.exception()
        if error is not None and job.attempts <= self.study.options.retries:
            log.warning("The worker of trial %d died (%s); it is started again", job.number, type(error).__name__)
            self._start(_Job(job.proposal, job.number, job.seed, job.attempts + 1, job.halved))
            return
        result = TrialResult(f"{type(error).__name__}: {error}") if error is not None else future.result()
        if result.out_of_memory and job.halved < 1:
            log.warning("Trial %d ran out of memory; it is started again at half the batch", job.number)
            self._start(_Job(job.proposal, job.number, job.seed, job.attempts, job.halved + 1))
            return
        self._append_and_tell(job, result, died=error is not None and not isinstance(error, OSError))

    def _append_and_tell(self, job: _Job, result: TrialResult, died: bool) -> None:
        state, points, told, error = self._outcome(job, result)
        cause = cause_of(error, died) if error is not None else None
        self.journal.append(
            "finish",
            number=job.number,
            state=state.value,
            points=[{"step": p.step, "rewards": list(p.rewards), "measures": p.measures} for p in points],
            told={"step": told.step, "rewards": list(told.rewards)} if told else None,
            error=error,
            seconds=result.seconds,
            attempts=job.attempts + job.halved,
            cause=cause,
        )
        if told is not None:
            self.proposer.tell(job.proposal, told.rewards)
        self.records = {record.number: record for record in self.journal.trials()}
        if error is not None:
            log.warning("Trial %d failed: %s Its folder is %s", job.number, error, self.study.trial(job.number))
        self.failures.add(cause)
        self.report(list(self.records.values()))

    def _outcome(
        self, job: _Job, result: TrialResult
    ) -> tuple[TrialState, tuple[Point, ...], Point | None, str | None]:
        points, why = read_points(self.study.trial(job.number), self.study.options.objectives)
        if not points and why is None:
            why = "The trial ended without a validation. Lower `trainer.val_check_interval`."
        error = result.error or why
        if error is not None:
            return TrialState.FAILED, points, None, shareable(error, self.study.trial(job.number), self.study.paths)
        if result.pruned:
            whole = [r.points for r in self.records.values() if r.state is TrialState.COMPLETE]
            return TrialState.PRUNED, points, expected_point(points[-1], whole), None
        told = best_point(points, self.points(), job.number, self.study.options.seed)
        return TrialState.COMPLETE, points, told, None

    # Budget

    def points(self) -> list[Point]:
        """Return all points of finished trials."""
        return [point for record in self.records.values() for point in record.points]

    @property
    def _all(self) -> list[TrialRecord]:
        return [self.records[number] for number in sorted(self.records)]

    @property
    def _is_stuck(self) -> bool:
        return self.failures.is_too_long(self._all)

    @property
    def _num_finished(self) -> int:
        return sum(record.state.is_finished for record in self.records.values())

    def _has_budget(self) -> bool:
        options = self.study.options
        if len(self.records) >= options.trials:
            return False
        if options.hours is not None and self.spent + time.monotonic() - self.started > 3600 * options.hours:
            return False
        return options.patience is None or trials_since_growth(list(self.records.values())) < options.patience
