"""What a mechanism costs, by Google's dp-accounting; nothing is accounted for by code of our own.

A mechanism is the Gaussian one on a sum over patients who are taken by coins (Poisson sampling), step after step.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from scipy.optimize import brentq

from memcontrol.errors import GuaranteeError
from memcontrol.files.provenance import version_of
from memcontrol.privacy.options import Accountant

__all__ = ["Steps", "able", "accountant_name", "epsilon_of", "noise_multiplier_for"]

DIGITS: Final = 4
"""Digits of a noise multiplier that is solved for; it is rounded up."""
PRECISION: Final = 1e-3
LEAST: Final = 0.2
LEAST_PLD: Final = 0.3
MOST: Final = 10_000
"""Between which noise multipliers are looked for; under `LEAST_PLD`, Renyi's accountant counts."""


class Steps(NamedTuple):
    """Steps of one kind.

    Args:
        number: How many.
        rate: Probability with which a step takes a patient, in (0, 1].
        noise_multiplier: Standard deviation of the noise in units of the clip.
    """

    number: int
    rate: float
    noise_multiplier: float


def accountant_name(accountant: Accountant) -> str:
    """Return the accountant with its version, as reports name it."""
    return f"dp-accounting {version_of('dp-accounting')} ({accountant.upper()})"


def epsilon_of(steps: Iterable[Steps], delta: float, accountant: Accountant = "pld") -> float:
    """Return the epsilon of steps taken one after the other; lower is more private, infinity is no guarantee.

    Args:
        steps: The steps, of any number of trainings on the same patients.
        delta: Probability with which the bound may fail.
        accountant: See `PrivacyOptions`.
    """
    counts: dict[tuple[float, float], int] = {}
    for part in steps:
        counts[part[1:]] = counts.get(part[1:], 0) + part.number
    taken = tuple(Steps(number, *kind) for kind, number in counts.items() if number)
    accountant = able(accountant, taken)
    if any(part.noise_multiplier == 0 for part in taken):
        return math.inf
    return _epsilon(taken, delta, accountant) if taken else 0.0


def able(accountant: Accountant, steps: Iterable[Steps]) -> Accountant:
    """Return the accountant; under little noise Renyi's, as loss distributions do not fit into memory then."""
    return "rdp" if any(0 < part.noise_multiplier < LEAST_PLD for part in steps) else accountant


@lru_cache(maxsize=1024)
def _epsilon(steps: tuple[Steps, ...], delta: float, accountant: Accountant) -> float:
    counting = _accountant(accountant)
    for part in steps:
        counting.compose(_event(part))
    return float(counting.get_epsilon(delta))


@lru_cache(maxsize=1024)
def noise_multiplier_for(
    epsilon: float, delta: float, steps: int, rate: float, accountant: Accountant = "pld"
) -> float:
    """Return the smallest noise, in units of the clip, at which steps stay within a budget.

    Args:
        epsilon: The budget; infinity needs no noise.
        delta: Probability with which the bound may fail.
        steps: Number of steps.
        rate: Probability with which a step takes a patient, in (0, 1].
        accountant: See `PrivacyOptions`.

    Raises:
        GuaranteeError: If no noise below 10,000 suffices.
    """
    if math.isinf(epsilon):
        return 0.0
    loose = _solved(epsilon, delta, steps, rate, "rdp", (LEAST, MOST))
    found = loose if accountant == "rdp" else _solved(epsilon, delta, steps, rate, "pld", (LEAST, 1.01 * loose))
    noise = math.ceil(found * 10**DIGITS) / 10**DIGITS
    while epsilon_of([Steps(steps, rate, noise)], delta, accountant) > epsilon:  # twice or thrice, at most
        noise = math.ceil(noise * (1 + PRECISION / 2) * 10**DIGITS) / 10**DIGITS
    return noise


def _solved(
    epsilon: float, delta: float, steps: int, rate: float, accountant: Accountant, within: tuple[float, float]
) -> float:
    """Return the noise between two bounds at which the budget is met, within `PRECISION` of itself."""

    def excess(log_noise: float) -> float:
        cost = epsilon_of([Steps(steps, rate, math.exp(log_noise))], delta, accountant)
        return math.log(max(cost, 1e-12) / epsilon)

    low, high = map(math.log, within)
    if excess(high) > 0:
        raise GuaranteeError(
            f"No noise up to {MOST:,} gives epsilon {epsilon:g} at delta {delta:g} over {steps:,} steps that take a "
            f"patient with probability {rate:.3g}. Raise `model.privacy.epsilon`, or train for fewer steps."
        )
    near = max(low, high - 0.4)  # privacy loss distributions save a third of the noise at most
    low = near if excess(near) > 0 else low
    return math.exp(float(brentq(excess, low, high, xtol=PRECISION))) if excess(low) > 0 else math.exp(low)


def _event(part: Steps) -> Any:
    import dp_accounting

    if part.rate >= 1:  # n steps of the Gaussian mechanism are one with a noise that is smaller by the root of n
        return dp_accounting.GaussianDpEvent(part.noise_multiplier / math.sqrt(part.number))
    step = dp_accounting.PoissonSampledDpEvent(part.rate, dp_accounting.GaussianDpEvent(part.noise_multiplier))
    return dp_accounting.SelfComposedDpEvent(step, part.number)


def _accountant(name: Accountant) -> Any:
    from dp_accounting import pld, rdp

    logging.getLogger("absl").setLevel(logging.ERROR)  # that an order did not converge, which is then left out
    return pld.PLDAccountant() if name == "pld" else rdp.RdpAccountant()
