"""What a measure says of itself, in one place; all else (directions, verdict, tables, pairing) reads from here.

A measure of your own is one file: a subclass of `Measure` and a call of `register`. Name the file under `extensions` of
a config (with `--trust-config`), and the measure is a reward, an objective of a search, a line of the audit and of its
verdict, of the comparison of two runs, and, with a `column`, of a comparison's table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, TypeVar

from memcontrol.errors import RewardError
from memcontrol.measures.aggregators import Aggregator, Values
from memcontrol.measures.measurement import Group, Measurement
from memcontrol.measures.needs import Evidence, Need, Shadow
from memcontrol.measures.options import ScoringOptions
from memcontrol.measures.real import RealImages

__all__ = [
    "ATTACKERS",
    "MEASURES",
    "Attacker",
    "Measure",
    "Scene",
    "chosen_measures",
    "directions",
    "needs_of",
    "register",
]

T = TypeVar("T")

Attacker = Literal["", "pictures", "weights", "captions", "shadows"]
ATTACKERS: Final[dict[Attacker, str]] = {
    "pictures": "sees pictures that are drawn for training captions",
    "weights": "has the weights, the base, and the image in question",
    "captions": "has these, and knows the image's caption",
    "shadows": "has the weights, and other patients of the same site to train models of the same kind on",
    "": "-",
}
"""Attackers, the one who needs least first: a hospital that serves pictures only need not fear the others."""

MEASURES: dict[str, Measure] = {}
"""All measures by name, in the order in which reports list them."""


@dataclass
class Scene:
    """What measures are taken in: the real images and the options, with room for what several measures share.

    Args:
        real: Real images.
        options: Seed and share of false alarms.
        base: Evidence of the untouched base, for measures that are calibrated by it.
        shadows: Models that were trained as the one in question on other patients, for attacks that need them.
    """

    real: RealImages
    options: ScoringOptions
    base: Evidence | None = None
    shadows: Sequence[Shadow] = ()
    _shared: dict[Hashable, Any] = field(default_factory=dict)

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is computed once for all measures of this scene."""
        if key not in self._shared:
            self._shared[key] = make()
        found: T = self._shared[key]
        return found


class Measure(ABC):
    """A measured quantity of a model."""

    name: ClassVar[str]
    """Name in configs, records and tables."""
    group: ClassVar[Group]
    """`memorization` or `quality`."""
    higher_is_better: ClassVar[bool]
    """Direction."""
    needs: ClassVar[tuple[Need[Any], ...]]
    """What it is computed from."""
    aggregator: ClassVar[Aggregator]
    """What makes value, interval, null, test and pairing of its values."""
    words: ClassVar[str]
    """What it tells, for the README's table and for people."""
    leak: ClassVar[str] = ""
    """What a leak by this measure is, as a clause of the verdict; for measures of memorization that are tested."""
    column: ClassVar[int] = 0
    """Place among the columns of a comparison's table; 0 for none."""
    attacker: ClassVar[Attacker] = ""
    """What somebody must have who learns this, for measures of memorization, see `ATTACKERS`."""
    is_attack: ClassVar[bool] = False
    """Whether `scoring.attacks: false` leaves it out."""
    needs_base: ClassVar[bool] = False
    """Whether its values are made from the untouched base's too; without these it has none."""
    within_training: ClassVar[bool] = False
    """Whether it compares training images with each other only: held-out ones of another site do not disturb it."""
    is_reward: ClassVar[bool] = True
    """Whether it is one number under its own name, which can be a reward."""

    @property
    def sees_training(self) -> bool:
        """Whether it is computed from training patients, so that it says something of them."""
        return self.group == "memorization" or any(getattr(need, "side", None) == "train" for need in self.needs)

    @abstractmethod
    def values(self, evidence: Evidence, scene: Scene) -> Values | None:
        """Return the values of one model, or None where they cannot be had (pictures without prompts, say)."""

    def measure(self, evidence: Evidence, scene: Scene, base: Evidence | None) -> list[Measurement]:
        """Measure a model, with the base as null where it was scored.

        Args:
            evidence: Evidence of the model; it holds what the measure needs.
            scene: Real images and options.
            base: Evidence of the untouched base.
        """
        ours = self.values(evidence, scene)
        if ours is None:
            return []
        theirs = self.values(base, scene) if base is not None and base.holds(self.needs) else None
        worse = -1 if self.higher_is_better else 1
        found = self.aggregator.summarize(ours, theirs, worse, scene.options.seed)
        note = self.note(ours, scene, found.note)
        better = self.higher_is_better
        return [Measurement(self.name, self.group, found.value, found.null, better, found.p, note, found.spread)]

    def note(self, ours: Values, scene: Scene, note: str) -> str:
        """Return what a reader must know, from what the aggregator says."""
        return note


def register(measure: Measure) -> Measure:
    """Enter a measure; one of the same name and class takes the other's place.

    Raises:
        RewardError: If another measure has its name.
    """
    known = MEASURES.get(measure.name)
    if known is not None and _name_of(known) != _name_of(measure):
        raise RewardError(f"Two measures are called {measure.name!r}: {type(known)} and {type(measure)}. Rename one.")
    MEASURES[measure.name] = measure
    return measure


def _name_of(measure: Measure) -> str:
    return f"{type(measure).__module__}.{type(measure).__qualname__}"


def directions() -> dict[str, bool]:
    """Return whether higher is better, of each measure that can be a reward."""
    return {name: measure.higher_is_better for name, measure in MEASURES.items() if measure.is_reward}


def chosen_measures(options: ScoringOptions, further: Sequence[Measure] = ()) -> list[Measure]:
    """Return the measures that options ask for.

    Args:
        options: Names (all by default), and whether attacks are made.
        further: Measures that are not registered: metrics of a config.

    Raises:
        RewardError: If a name is none of a measure.
    """
    known = {**MEASURES, **{measure.name: measure for measure in further}}
    names = list(known) if options.measures is None else options.measures
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RewardError(f"Argument `scoring.measures` names {unknown}. Allowed are {sorted(known)}.")
    return [m for name, m in known.items() if name in names and (options.attacks or not m.is_attack)]


def needs_of(measures: Iterable[Measure]) -> list[Need[Any]]:
    """Return what measures need, each need once."""
    return list(dict.fromkeys(need for measure in measures for need in measure.needs))
