"""What is proven about a trained model, in plain values; what claims less than its steps cost is refused."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, get_args

from memcontrol.errors import CheckpointError
from memcontrol.files.card import Card
from memcontrol.privacy.accounting import Steps, able, accountant_name, epsilon_of
from memcontrol.privacy.options import Accountant
from memcontrol.ranges import is_in_range

__all__ = ["NO_GUARANTEE", "Guarantee", "Unit", "guarantee_of", "is_guarantee", "rounded_up"]

Unit = Literal["patient", "image"]
NO_GUARANTEE: Final = "none (differential privacy was not used)"
TOLERANCE: Final = 1e-3
"""Relative difference between two versions of an accountant that is let pass."""
RANGES: Final = {
    "epsilon": "[0, inf)",
    "delta": "(0, 1)",
    "clip": "(0, inf)",
    "noise_multiplier": "[0, inf)",
    "rate": "(0, 1]",
    "steps": "[0, inf)",
    "patients": "[1, inf)",
    "draws": "[1, inf)",
    "planned": "[0, inf)",
}


@dataclass(frozen=True)
class Guarantee:
    """A bound on what any attack can learn of one training patient from the weights.

    Args:
        epsilon: The bound; lower is more private, None is none.
        delta: Probability with which it may fail.
        clip: Largest norm of what one patient adds to a step.
        noise_multiplier: Standard deviation of the noise in units of the clip.
        rate: Probability with which a step takes a patient.
        steps: Number of steps.
        patients: Number of training patients.
        draws: Samples of a patient in a step.
        accountant: `pld` or `rdp`.
        by: The accountant with its version.
        unit: What neighbouring data sets differ by, as a whole: a `patient`, or an `image` where none is named.
        planned: Steps of the whole training that these are the first of; who chose them by what came after has spent
            what all of them cost. 0 where a record does not say.
    """

    epsilon: float | None
    delta: float
    clip: float
    noise_multiplier: float
    rate: float
    steps: int
    patients: int
    draws: int
    accountant: Accountant = "pld"
    by: str = ""
    unit: Unit = "patient"
    planned: int = 0

    @classmethod
    def of(
        cls,
        steps: Steps,
        delta: float,
        clip: float,
        patients: int,
        draws: int,
        accountant: Accountant,
        unit: Unit = "patient",
        planned: int = 0,
    ) -> Guarantee:
        """Return what steps on patients have cost."""
        accountant = able(accountant, [steps])
        epsilon = epsilon_of([steps], delta, accountant)
        return cls(
            None if math.isinf(epsilon) else epsilon,
            delta,
            clip,
            steps.noise_multiplier,
            steps.rate,
            steps.number,
            patients,
            draws,
            accountant,
            accountant_name(accountant),
            unit,
            planned,
        )

    @property
    def taken(self) -> Steps:
        """The steps."""
        return Steps(self.steps, self.rate, self.noise_multiplier)

    def check(self, step: int) -> None:
        """See that the bound is what the steps cost, and that no step is missing.

        Args:
            step: Number of optimizer steps that the weights are known to have.

        Raises:
            CheckpointError: If it claims less.
        """
        if self.steps != step:
            raise CheckpointError(
                f"The weights are of step {step:,}, but their privacy budget counts {self.steps:,} steps: the record "
                "was changed, or is another's. Nothing is known of what they give away; train again."
            )
        cost = epsilon_of([self.taken], self.delta, self.accountant)
        claimed = math.inf if self.epsilon is None else self.epsilon
        if cost > claimed * (1 + TOLERANCE):
            raise CheckpointError(
                f"The weights claim epsilon {claimed:.4g}, but {self.steps:,} steps with noise multiplier "
                f"{self.noise_multiplier:g} that take a patient with probability {self.rate:.3g} cost {cost:.4g} at "
                f"delta {self.delta:g}: the record was changed. Believe the second number, or train again."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Guarantee:
        """Undo `to_dict`.

        Raises:
            CheckpointError: If the values make no sense.
        """
        if not is_guarantee(values):
            raise CheckpointError(f"The record of a privacy budget makes no sense: {str(values)[:300]}. It is damaged.")
        return cls(**values)

    def __str__(self) -> str:
        """Return it as a report says it."""
        if self.epsilon is None:
            return f"none (each {self.unit} was clipped, but no noise was added)"
        said = (
            f"({rounded_up(self.epsilon)}, {rounded_up(self.delta)})-differential privacy per {self.unit}, for the "
            f"weights: {self.steps:,} steps that took each of {self.patients:,} {self.unit}s with probability "
            f"{self.rate:.3g}, noise multiplier {self.noise_multiplier:g}; accountant {self.by}"
        )
        if self.planned > self.steps:
            whole = epsilon_of([Steps(self.planned, self.rate, self.noise_multiplier)], self.delta, self.accountant)
            said += (
                f". These are the first of {self.planned:,} steps: if they were chosen by what came after them, "
                f"epsilon is {rounded_up(whole)}"
            )
        return said


def guarantee_of(card: Card) -> Guarantee | None:
    """Return what is proven of what was trained, or None if nothing is.

    Raises:
        CheckpointError: If the record claims less than its steps cost.
    """
    if card.privacy is None:
        return None
    found = Guarantee.from_dict(card.privacy)
    found.check(card.step)
    return found


def rounded_up(value: float) -> str:
    """Return a bound with three digits, which is never smaller than it.

    Example:
        >>> rounded_up(2.991), rounded_up(1.49e-4), rounded_up(8.0)
        ('3', '0.000149', '8')
    """
    digits = f"{value:.3g}"
    if float(digits) >= value:
        return digits
    return f"{float(digits) + 10.0 ** (math.floor(math.log10(value)) - 2):.3g}"


def is_guarantee(values: Any) -> bool:
    """Whether plain values are those of a guarantee; one that older versions wrote lacks the planned steps."""
    names = {field.name for field in fields(Guarantee)}
    if not isinstance(values, dict) or not names - {"planned"} <= set(values) <= names:
        return False
    known = {"planned": 0, **values}
    texts = known["accountant"] in ("pld", "rdp") and known["unit"] in get_args(Unit) and isinstance(known["by"], str)
    numbers = all(
        (name == "epsilon" and known[name] is None)
        or (isinstance(known[name], int | float) and not isinstance(known[name], bool))
        for name in RANGES
    )
    return texts and numbers and all(known[n] is None or is_in_range(known[n], r) for n, r in RANGES.items())
