"""A measured quantity, and what it is compared with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from memcontrol.rewards.functional.intervals import Interval
from memcontrol.scoring.real import RealImages

__all__ = ["HIGHER_IS_BETTER", "Measure", "subjects_of"]


@dataclass(frozen=True)
class Measure:
    """A measured quantity.

    Args:
        name: Its name.
        group: `memorization` or `quality`.
        value: Value with interval; None is "not estimable" with these numbers.
        null: What the untouched base scores, or what chance gives.
        higher_is_better: Direction.
        p: One-sided p-value of "worse than the null", or None where it is not tested.
        note: What a reader must know.
    """

    name: str
    group: str
    value: Interval | None
    null: Interval | float | None
    higher_is_better: bool
    p: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


HIGHER_IS_BETTER = {
    "membership_auc": False,
    "membership_auc_secmi": False,
    "membership_auc_pia": False,
    "membership_tpr_1": False,
    "membership_tpr_01": False,
    "noise_norm": False,
    "own_prompt": False,
    "replication": False,
    "amd": True,
    "authenticity": True,
    "c_t": True,
    "mifid": False,
    "heldout_loss": False,
    "fid": False,
    "kid": False,
    "precision": True,
    "recall": True,
    "density": True,
    "coverage": True,
}
"""Direction of every measure."""


def subjects_of(real: RealImages, split: str, rows: list[int]) -> list[str]:
    """Return the patient of each row."""
    names = real.subjects(split)
    return [names[row] for row in rows]
