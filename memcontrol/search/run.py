"""`search`: open the study, run the loop, score the front again, hand the masks on."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from memcontrol.adapters import adapt, resolve_mask
from memcontrol.diffusion.bases import build_skeleton
from memcontrol.errors import SearchError
from memcontrol.files.checkpoints import checkpoint_of
from memcontrol.files.configs import ResolvedConfig
from memcontrol.files.journal import Journal
from memcontrol.files.run_folder import LOG, OVERLAY
from memcontrol.jobs.loop import JobLoop
from memcontrol.jobs.workers import local_workers, num_devices
from memcontrol.measures import Point
from memcontrol.module import MemControlModule
from memcontrol.search.choices import check_choices
from memcontrol.search.design import initial_design
from memcontrol.search.front import FrontPoint, archive, contenders, pick
from memcontrol.search.loop import OuterLoop
from memcontrol.search.options import SearchOptions
from memcontrol.search.proposer import Proposer
from memcontrol.search.records import PointId, TrialRecord
from memcontrol.search.report import write_report
from memcontrol.search.rescore import RescoreSpec, rescore
from memcontrol.search.results import front_table, write_results
from memcontrol.search.study import Study, open_study
from memcontrol.search.tracking import log_front

__all__ = ["search"]

log = logging.getLogger("memcontrol")
RESULTS: Final = ("report.html", "pareto.csv", "masks/", "best.yaml")


def search(
    model: MemControlModule,
    config: ResolvedConfig,
    callbacks: Sequence[Any],
    options: SearchOptions,
    entry: str,
    build: str,
    trust: bool = False,
) -> list[FrontPoint]:
    """Run a study, or go on with it.

    Args:
        model: The module, which says what the slots are.
        config: Config of the run.
        callbacks: The callbacks that it names, in its order.
        options: Options.
        entry: What runs a trial, as `module:function`.
        build: What makes trainer, module and data of a config, as `module:function`.
        trust: Whether the config is trusted to import code.

    Returns:
        The front.

    Raises:
        SearchError: If the study cannot be run as configured, another process runs it, it was stopped as its trials
            fail one after another (see `stop`), or no trial has left a point.
    """
    if model.adapter is None and options.search_mask:
        raise SearchError(
            "`search` looks for a mask, but `model.adapter` is null: there is nothing that a mask could free. Add an "
            "overlay such as `--config adapter/svdiff.yaml`, or set `search.search_mask: false`."
        )
    trains_without, names = _slots(model)
    study = open_study(config, callbacks, names, options, entry, build, trust, trains_without)
    workers, threads = _shares(options)
    proposer = Proposer(
        study.space,
        options.optimizer,
        initial_design(study.space, options, trains_without),
        options.trials,
        workers,
        len(options.objectives),
        options.seed,
    )
    journal = Journal(study.journal)
    if not study.journal.exists():
        check_choices(study)
    with journal.writing():
        study.write()
        executor = options.executor or local_workers(workers, options.devices_per_trial)
        try:
            loop = OuterLoop(
                study, journal, proposer, executor, workers, threads, lambda r: _publish(study, journal, r)
            )
            records = loop.run()
            _rescore(study, journal, records, executor, threads)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        points = _publish(study, journal, records)
    if not points:
        raise SearchError(_without_front(study, records))
    log_front(study, points, records)
    if pick(points, options.pick, options.objectives) is None:
        log.warning("No point of the front has %s, so there is no best.yaml. See pareto.csv.", options.pick)
    table = front_table(study, points, records)
    print(table[["trial", "step", "mask", *study.options.objectives]].to_string(index=False))
    log.info("The study is in %s", _named(study))
    return points


def _named(study: Study) -> str:
    """Return the study's folder, with what there is to look at."""
    there = [name for name in RESULTS if (study.folder / name).exists()]
    return f"{study.folder} ({', '.join(there)})" if there else str(study.folder)


def _without_front(study: Study, records: list[TrialRecord]) -> str:
    failed = [r for r in records if r.error]
    last = f" The last failure, of trial {failed[-1].number}: {failed[-1].error}" if failed else ""
    return (
        f"No trial of the study in {_named(study)} has left a point, so there is no front and no mask to pick: "
        f"{len(failed)} of {len(records)} trials failed.{last} The logs are {study.folder / 'trials' / '*' / LOG}. "
        "What has ended is not trained again: mend it, and raise `search.trials`, or name another `--search.study`."
    )


def _slots(model: MemControlModule) -> tuple[bool, tuple[str, ...]]:
    """Return whether all bits off trains something, and the names of the slots."""
    unet = build_skeleton(model.base)
    layout, mask = resolve_mask(unet, model.slots, "none")
    adapted = adapt(unet, model.adapter, layout, mask, allow_empty=True)
    return bool(adapted.trainable()), tuple(layout.names)


def _shares(options: SearchOptions) -> tuple[int, int | None]:
    workers = options.workers or max(1, num_devices() // options.devices_per_trial)
    return workers, options.threads or max(1, len(os.sched_getaffinity(0)) // workers)


def _known(study: Study, journal: Journal) -> dict[PointId, Point]:
    """Return what was scored again: with as many pictures and as much noise as are asked for, or as were the last."""
    events = journal.events()
    found = [(_effort(e), e) for e in events if e["event"] == "rescore"]
    asked = study.options.rescore_factor
    effort = (asked, asked) if asked else max((effort for effort, _ in found), default=(0, 0))
    ends = [_effort(e) if e["event"] == "rescore" else None for e in events if e["event"] in ("finish", "rescore")]
    if ends and ends[-1] == (asked, 1):  # a study that has ended under an older version stands as it is
        effort = (asked, 1)
    return {PointId.from_dict(e): Point.from_dict(e) for theirs, e in found if theirs == effort}


def _effort(event: dict[str, Any]) -> tuple[int, int]:
    """Return by how much pictures and noise were multiplied; studies of version 0.1 left the noise as it was."""
    return event.get("factor", 4), event.get("draws", 1)


def _rescore(
    study: Study, journal: Journal, records: list[TrialRecord], executor: Executor, threads: int | None
) -> None:
    """Score the points of the front again that were not yet."""
    factor = study.options.rescore_factor
    if factor < 1:
        return
    tried: set[PointId] = set()
    while True:  # where points fall, others that were not scored again may come forward
        again = [p.id for p in contenders(records, _known(study, journal)) if p.id not in tried]
        if not again:
            return
        tried.update(again)
        jobs: JobLoop[PointId] = JobLoop(executor, study.options.retries, rescore, "scoring of")
        for key in again:
            checkpoint, overlay = checkpoint_of(study.trial(key.trial), key.step), study.trial(key.trial) / OVERLAY
            if checkpoint is not None:
                jobs.submit(key, _spec(study, key, checkpoint, overlay if overlay.is_file() else None, threads))
        with tqdm(total=len(jobs.keys), desc="scoring the front again", unit="point") as bar:
            while jobs.keys:
                for done in jobs.wait():
                    bar.update()
                    if done.error is not None:
                        log.warning("Point %s could not be scored again: %s", done.key, done.error)
                        continue
                    point = {**done.result.to_dict(), **done.key.to_dict()}
                    journal.append("rescore", **point, factor=factor, draws=factor)


def _spec(study: Study, key: PointId, checkpoint: Path, overlay: Path | None, threads: int | None) -> RescoreSpec:
    return RescoreSpec(
        study.build,
        str(study.config),
        str(checkpoint),
        key.step,
        tuple(study.options.objectives),
        study.options.rescore_factor,
        study.trust,
        threads,
        key.scale,
        str(overlay) if overlay is not None else None,
    )


def _publish(study: Study, journal: Journal, records: list[TrialRecord]) -> list[FrontPoint]:
    """Write what can be looked at, also while the study runs."""
    points = archive(records, _known(study, journal))
    try:
        best = write_results(study, points, records)
        write_report(study, records, points, best)
    except OSError as error:
        log.warning(
            "Front and report of %s could not be written: %s. Make room, and run the same command again: the journal "
            "holds all they are made of.",
            study.folder,
            error,
        )
    return points
