"""Options of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, Literal

from memcontrol.errors import SearchError
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.ranges import check_ranges
from memcontrol.search.bayes import NAME
from memcontrol.search.space import Parameter

__all__ = ["Bounds", "SearchOptions"]


RANGES: Final = {
    "trials": "[1, inf)",
    "hours": "(0, inf)",
    "patience": "[1, inf)",
    "workers": "[1, 1024]",
    "devices_per_trial": "[1, 1024]",
    "threads": "[1, 1024]",
    "rescore_factor": "[0, inf)",
    "retries": "[0, inf)",
    "heartbeat_s": "(0, inf)",
    "seed": "[0, 4294967295]",
}


@dataclass(frozen=True)
class Bounds:
    """Bounds on objectives, under which the best quality (the last objective) is picked.

    Where only quality has a bound, the least memorization (the first objective) is picked.

    Args:
        at_most: Largest value of each, such as `{membership_calibrated: 0.62}`.
        at_least: Smallest value of each.
    """

    at_most: dict[str, float] = field(default_factory=dict)
    at_least: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return them as a reader would say them."""
        parts = [f"{name} at most {bound:g}" for name, bound in self.at_most.items()]
        return " and ".join(parts + [f"{name} at least {bound:g}" for name, bound in self.at_least.items()])

    def bounds_only(self, name: str) -> bool:
        """Whether an objective is the only one with a bound."""
        return {*self.at_most, *self.at_least} == {name}

    def met_by(self, measures: Mapping[str, Interval]) -> bool:
        """Whether measured values lie within the bounds."""
        return all(measures[name].value <= bound for name, bound in self.at_most.items()) and all(
            measures[name].value >= bound for name, bound in self.at_least.items()
        )


@dataclass(frozen=True)
class SearchOptions:
    """How masks are searched.

    Args:
        study: Folder of the study; the same command goes on with it.
        trials: Number of trials, starts and anchors included.
        hours: Stop proposing after the study has run for so long, in hours.
        patience: Stop when the hypervolume has not grown for so many trials; a resumed study counts on.
        optimizer: Name in nevergrad's registry; ours is the default.
        workers: Trials at once; by default one per GPU, or one.
        devices_per_trial: Devices of each trial.
        threads: CPU threads of each worker; by default all of them, shared out.
        objectives: Measures that are traded off, see `RewardsCallback`; one or more.
        search_mask: Whether the mask is searched; otherwise it is the config's.
        lr: Bounds of the learning rate (log-uniform), or null to leave it alone.
        parameters: Further settings to search.
        measures: What else is measured in each trial; the objectives alone by default, as all else takes time.
        starts: What is tried first of all: values by key, such as `{model.adapter: lora, model.optimizer.lr: 1e-3}` for
            what you would pick by hand. What a start leaves out has its usual value (the first choice, the middle of a
            range, all bits on).
        anchors: What is tried next: `all` bits on, `none` (where that trains something), `single` blocks, `each` value
            of each choice that other parameters depend on (of each choice, if none do), with all bits on.
        pick: Which point of the front is the best: `knee`, `quality` (last objective) or `memorization` (first), or
            bounds: `{at_most: {membership_calibrated: 0.62}}` is the best quality under a leak that is accepted, and
            `{at_most: {kid_decoded: 0.5}}` the smallest leak at a quality that suffices.
        prune: Whether hopeless trials are stopped early, once 10 have finished.
        rescore_factor: The front is scored again with so many times the pictures and the noise that images are probed
            with (`scoring.num_images`, `scoring.draws`), and fresh seeds (0: not).
        retries: How often a trial is started again after its worker died.
        executor: Runs trials elsewhere: any `concurrent.futures` executor.
        wandb: Project in Weights & Biases that trials and the front are logged to, numbers only; null for none.
        wandb_offline: Whether nothing is sent until `wandb sync` is run by hand.
        heartbeat_s: Seconds between signs of life in the journal.
        seed: Seed of proposals and trials.

    Raises:
        SearchError: If a number is out of range.
    """

    study: str = "runs/study"
    trials: int = 20
    hours: float | None = None
    patience: int | None = None
    optimizer: str = NAME
    workers: int | None = None
    devices_per_trial: int = 1
    threads: int | None = None
    objectives: list[str] = field(default_factory=lambda: ["membership_calibrated", "kid"])
    measures: list[str] = field(default_factory=list)
    search_mask: bool = True
    lr: list[float] | None = field(default_factory=lambda: [1e-4, 1e-2])
    parameters: list[Parameter] = field(default_factory=list)
    starts: list[dict[str, int | float | str | list[int]]] = field(default_factory=list)
    anchors: list[Literal["all", "none", "single", "each"]] = field(default_factory=lambda: ["all", "none"])
    pick: Literal["knee", "quality", "memorization"] | Bounds = "knee"
    prune: bool = True
    rescore_factor: int = 4
    retries: int = 1
    executor: Executor | None = None
    wandb: str | None = None
    wandb_offline: bool = True
    heartbeat_s: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(SearchError, "search", self, RANGES)
        if self.lr is not None and (len(self.lr) != 2 or not 0 < self.lr[0] < self.lr[1]):
            raise SearchError(f"Argument `search.lr` must be two numbers 0 < low < high, but got {self.lr}.")
        if isinstance(self.pick, Bounds):
            bounds = {**self.pick.at_most, **self.pick.at_least}
            unknown = sorted(set(bounds) - set(self.objectives))
            if unknown or not bounds or not all(map(math.isfinite, bounds.values())):
                raise SearchError(
                    f"Argument `search.pick` must bound some of the objectives {self.objectives} by finite numbers, "
                    f"but got {bounds}. Say `pick: {{at_most: {{{self.objectives[0]}: 0.6}}}}`, or add the measure to "
                    "`search.objectives`."
                )
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise SearchError(f"Argument `search.objectives` must name different measures, but got {self.objectives}.")
