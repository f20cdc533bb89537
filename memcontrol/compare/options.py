"""Options of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from memcontrol.config_files import CONFIGS
from memcontrol.errors import SearchError
from memcontrol.scoring import ScoringOptions

__all__ = ["CompareOptions"]


@dataclass(frozen=True)
class CompareOptions:
    """Which methods are compared, and how.

    Args:
        folder: Folder of the comparison; the same command goes on with it.
        evidence: Folder that gets one small file of numbers per cell; tables and tests are made from it alone.
        methods: A folder of overlays, or a list of overlays; each file is a method under its own name.
        seeds: Seeds; each method is run with each.
        lrs: Learning rates that each method is tried with on validation; a method's own `lr_factor` scales them.
        memorization: The primary measure of memorization.
        quality: The primary measure of quality.
        margin: Share of the base's quality value by which a method may be worse and still count as no worse.
        scoring: How test patients are scored.
        workers: Runs at once.
        threads: CPU threads of each worker.

    Raises:
        SearchError: If there is nothing to compare.
    """

    folder: str = "runs/compare"
    evidence: str = "runs/compare/evidence"
    methods: list[str] = field(default_factory=lambda: ["compare/methods"])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    lrs: list[float] = field(default_factory=lambda: [1e-4, 1e-3, 5e-3])
    memorization: str = "membership_auc"
    quality: str = "kid"
    margin: float = 0.1
    scoring: ScoringOptions = field(default_factory=lambda: ScoringOptions(num_images=200, num_probes=0))
    workers: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        """Check that there is something to compare."""
        if not self.methods or not self.seeds or not self.lrs or min(self.lrs) <= 0 or self.workers < 1:
            raise SearchError(
                "Arguments `compare.methods`, `seeds` and `lrs` (above 0) must not be empty and `workers` at least 1, "
                f"but got {self.methods}, {self.seeds}, {self.lrs} and {self.workers}."
            )

    def overlays(self) -> dict[str, Path]:
        """Return the overlay of each method, by the method's name.

        Raises:
            SearchError: If a path does not exist, or two methods have one name.
        """
        found: dict[str, Path] = {}
        for name in self.methods:
            path = next((p for p in (Path(name), CONFIGS / name) if p.exists()), None)
            if path is None:
                raise SearchError(f"Argument `compare.methods` names {name!r}, which is neither here nor in configs/.")
            for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
                if file.stem in found:
                    raise SearchError(
                        f"Two methods are called {file.stem!r}: {found[file.stem]} and {file}. Rename one."
                    )
                found[file.stem] = file
        return found
