"""Options of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from memcontrol.audit.options import ExtractionOptions
from memcontrol.errors import SearchError
from memcontrol.measures import MEASURES, ScoringOptions
from memcontrol.ranges import check_ranges

__all__ = ["CompareOptions"]


RANGES: Final = {
    "random_masks": "[0, inf)",
    "seeds": "[0, 4294967295]",
    "lrs": "(0, inf)",
    "margin": "[0, inf)",
    "shadows": "[0, 256]",
    "workers": "[1, 1024]",
    "threads": "[1, 1024]",
}


@dataclass(frozen=True)
class CompareOptions:
    """Which methods are compared, and how.

    Args:
        folder: Folder of the comparison; the same command goes on with it.
        evidence: Folder that gets one small file of numbers per cell; tables and tests are made from it alone.
        methods: A folder of overlays, or a list of overlays; each file is a method under its own name.
        found: Overlay of a study (its best.yaml) by the method that it searched: adds the rows `METHOD_found` and
            `METHOD_random1` to `METHOD_randomK`, with random masks of as many bits. One that names its adapter itself,
            of a study whose space holds several, is a row `NAME_found` as it stands, at its own learning rate, step
            and scale.
        random_masks: How many of those, the K.
        transfer: Whether found masks were searched on other data: then claim 4 is judged instead of claim 3.
        searches: Studies (folders with a journal.jsonl) whose fronts are compared: the first was rewarded for
            `memorization` and `quality`, the others for other measures (claim 6).
        seeds: Seeds; learning rate and step of a method are chosen with the first and repeated with the others.
        lrs: Learning rates that each method is tried with on validation; a method's own `lr_factor` scales them.
        memorization: The primary measure of memorization.
        quality: The primary measure of quality.
        margin: Share of the other's quality value by which a method may be worse and still count as no worse.
        attacks: Further measures of memorization under which a found configuration must memorize less (claim 7).
        levers: Whether each method that adds a mitigation to another one is a claim of its own (claim 8).
        shadows: Shadow models of each method that claim 7 compares, for `membership_lira`; an even number, and each of
            them takes as long as a run.
        scoring: How test patients are scored.
        extraction: The extraction attack on each cell; off by default, since it draws `samples` images of each prompt.
        images: Whether the report shows a grid of drawn pictures `blurred`, `full`, or not at all (`none`). Blurring
            does not de-identify.
        report_only: Whether to make table, plot and claims again from the evidence there is, and run nothing.
        workers: Runs at once; by default one per GPU, or one.
        threads: CPU threads of each worker.

    Raises:
        SearchError: If there is nothing to compare.
    """

    folder: str = "runs/compare"
    evidence: str = "runs/compare/evidence"
    methods: list[str] = field(default_factory=lambda: ["compare/methods"])
    found: dict[str, str] = field(default_factory=dict)
    random_masks: int = 5
    transfer: bool = False
    searches: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    lrs: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 5e-3])
    memorization: str = "membership_auc"
    quality: str = "kid"
    margin: float = 0.1
    attacks: list[str] = field(default_factory=list)
    levers: bool = False
    shadows: int = 0
    scoring: ScoringOptions = field(default_factory=lambda: ScoringOptions(num_images=200, num_probes=0))
    extraction: ExtractionOptions = field(default_factory=lambda: ExtractionOptions(prompts=0))
    images: Literal["none", "blurred", "full"] = "blurred"
    report_only: bool = False
    workers: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Check that there is something to compare."""
        check_ranges(SearchError, "compare", self, RANGES)
        known = sorted(name for name, measure in MEASURES.items() if measure.group == "memorization")
        if not set(self.attacks) <= set(known):
            raise SearchError(f"Argument `compare.attacks` must name measures among {known}, but got {self.attacks}.")
        if self.shadows % 2:
            raise SearchError(
                "Argument `compare.shadows` must be even, so that each patient is trained on by half of the shadow "
                f"models, but got {self.shadows}."
            )
        for name in ("methods", "seeds", "lrs"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise SearchError(f"Argument `compare.{name}` must name at least one, none twice, but got {values}.")
