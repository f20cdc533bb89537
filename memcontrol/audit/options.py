"""How an audit is run, and what its report may show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memcontrol.audit.shadows import ShadowOptions
from memcontrol.errors import RewardError
from memcontrol.measures import ScoringOptions
from memcontrol.ranges import check_ranges

__all__ = ["AuditOptions", "ExtractionOptions"]


@dataclass(frozen=True)
class ExtractionOptions:
    """The extraction attack: one sample of many prompts, and many samples of the most suspicious ones.

    Args:
        screened: Training prompts that one picture is drawn for; images that are repeated on purpose come first.
        prompts: Those of them that are attacked with `samples` pictures (0: no attack at all).
        samples: Samples of each attacked prompt.
        clique: Samples that must all match each other.
        tiles: Tiles along each side in which samples are compared.

    Raises:
        RewardError: If a number is out of range.
    """

    screened: int = 1000
    prompts: int = 8
    samples: int = 24
    clique: int = 3
    tiles: int = 4

    def __post_init__(self) -> None:
        """Check the ranges."""
        ranges = {"screened": "[1, inf)", "prompts": "[0, inf)", "samples": "[2, inf)"}
        ranges |= {"clique": "[2, inf)", "tiles": "[1, inf)"}
        check_ranges(RewardError, "extraction", self, ranges)


@dataclass(frozen=True)
class AuditOptions:
    """Options of an audit.

    Args:
        scoring: How much is drawn and probed, and in which features.
        extraction: The extraction attack.
        shadows: Shadow models for the attack that needs them, of audited runs.
        level: How rare a false alarm of the whole verdict is, in [0.002, 1): p-values of 10,000 exchanged labels, of up
            to 20 tests, show nothing rarer.
        images: Whether the report shows pictures `blurred`, `full`, or not at all (`none`). Blurring does not
            de-identify.
        show_prompts: Whether prompts and patient ids appear as they are, not as hashes.

    Raises:
        RewardError: If the level is out of range.
    """

    scoring: ScoringOptions = ScoringOptions(num_images=200, num_probes=0)  # noqa: RUF009 - frozen
    extraction: ExtractionOptions = ExtractionOptions()
    shadows: ShadowOptions = ShadowOptions()  # noqa: RUF009 - frozen
    level: float = 0.01
    images: Literal["none", "blurred", "full"] = "blurred"
    show_prompts: bool = False

    def __post_init__(self) -> None:
        """Check the level."""
        check_ranges(RewardError, "options", self, {"level": "[0.002, 1)"})
