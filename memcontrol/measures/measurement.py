"""A measured quantity with what it is compared with, and the point at which it travels from a callback to the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from memcontrol.errors import RewardError
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.measures.statistics.objective import reward_of

__all__ = ["Group", "Measurement", "Point"]

Group = Literal["memorization", "quality"]


@dataclass(frozen=True)
class Measurement:
    """What a measure found for one model.

    Args:
        name: Name of the measure.
        group: `memorization` or `quality`.
        value: Value with interval; None is "not estimable" with these numbers.
        null: What the untouched base scores, or what chance gives.
        higher_is_better: Direction.
        p: P-value of "worse than the null", or None where it is not tested.
        note: What a reader must know.
        spread: Standard deviation of the value if patients' labels told nothing, where that is known.
    """

    name: str
    group: Group
    value: Interval | None
    null: Interval | float | None
    higher_is_better: bool
    p: float | None = None
    note: str = ""
    spread: float | None = None

    @property
    def reward(self) -> float:
        """The value as a reward: higher is better.

        Raises:
            RewardError: If there is none.
        """
        if self.value is None:
            raise RewardError(f"`{self.name}` could not be estimated: {self.note}.")
        return reward_of(self.value.value, self.higher_is_better)

    @property
    def reward_of_null(self) -> float:
        """What the untouched base scores, or what chance gives, as a reward; NaN where nothing is known of it."""
        null = self.null.value if isinstance(self.null, Interval) else self.null
        return float("nan") if null is None else reward_of(null, self.higher_is_better)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """Undo `to_dict`."""
        null = values.get("null")
        return cls(
            name=values["name"],
            group=values.get("group", "quality"),
            value=_interval(values["value"]),
            null=_interval(null) if isinstance(null, Mapping) else null,
            higher_is_better=bool(values["higher_is_better"]),
            p=values.get("p"),
            note=values.get("note", ""),
            spread=values.get("spread"),
        )


@dataclass(frozen=True)
class Point:
    """A model at one validation, as it travels from a run's `rewards.jsonl` to the front and to a comparison.

    Args:
        step: Optimizer steps.
        rewards: Each objective as a reward (higher is better), in the order of the objectives.
        measures: Every measure that could be estimated, by name.
        scale: How far from the base to what was trained the model had gone, in [0, 1].
    """

    step: int
    rewards: tuple[float, ...]
    measures: Mapping[str, Interval] = field(default_factory=dict)
    scale: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        measures = {name: asdict(value) for name, value in self.measures.items()}
        scale = {} if self.scale == 1 else {"scale": self.scale}
        return {"step": self.step, "rewards": list(self.rewards), "measures": measures, **scale}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Point:
        """Undo `to_dict`."""
        measures = {name: _interval(value) for name, value in values["measures"].items()}
        known = {name: value for name, value in measures.items() if value is not None}
        return cls(int(values.get("step", 0)), tuple(values["rewards"]), known, float(values.get("scale", 1.0)))

    @classmethod
    def of(cls, step: int, measurements: Sequence[Measurement], objectives: Sequence[str], scale: float = 1.0) -> Point:
        """Return the point of measurements.

        Args:
            step: Optimizer steps.
            measurements: What was measured.
            objectives: Measures that are traded off.
            scale: How far from the base to what was trained the model had gone, in [0, 1].

        Raises:
            RewardError: If an objective was not measured or could not be estimated.
        """
        known = {m.name: m for m in measurements}
        missing = [name for name in objectives if name not in known]
        if missing:
            raise RewardError(f"{missing} were not measured, but {sorted(known)}.")
        rewards = tuple(known[name].reward for name in objectives)
        return cls(step, rewards, {name: m.value for name, m in known.items() if m.value is not None}, scale)


def _interval(values: Mapping[str, Any] | None) -> Interval | None:
    if values is None or values.get("value") is None:
        return None
    low, high = (float("nan") if values.get(end) is None else float(values[end]) for end in ("low", "high"))
    return Interval(float(values["value"]), low, high, int(values.get("n", 0)))
