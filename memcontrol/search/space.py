"""What is searched: a mask over slots, the learning rate, and what else a config adds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import nevergrad as ng
import numpy as np

from memcontrol.errors import SearchError

__all__ = ["Parameter", "Proposal", "SearchSpace"]

Value = float | int | str


@dataclass(frozen=True)
class Parameter:
    """A setting that is searched, by its dotted key in the config.

    Args:
        key: Key in the config, e.g. `model.adapter.r`.
        kind: `log` and `linear` are numbers between `low` and `high`, `integer` a whole one, `choice` one of `choices`.
        low: Lower bound.
        high: Upper bound.
        choices: Values to choose from.

    Raises:
        SearchError: If bounds or choices are missing or wrong.
    """

    key: str
    kind: Literal["log", "linear", "integer", "choice"] = "log"
    low: float | None = None
    high: float | None = None
    choices: list[Value] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check bounds and choices."""
        if self.kind == "choice":
            if len(self.choices) < 2:
                raise SearchError(f"Parameter `{self.key}` needs at least two `choices`, but got {self.choices}.")
            return
        if self.low is None or self.high is None or not self.low < self.high or (self.kind == "log" and self.low <= 0):
            raise SearchError(
                f"Parameter `{self.key}` of kind {self.kind} needs `low` < `high`"
                f"{' above 0' if self.kind == 'log' else ''}, but got {self.low} and {self.high}."
            )

    def value(self, unit: float) -> Value:
        """Map a number in [0, 1] to a value."""
        unit = min(1.0, max(0.0, unit))
        if self.kind == "choice":
            return self.choices[min(len(self.choices) - 1, int(unit * len(self.choices)))]
        assert self.low is not None
        assert self.high is not None
        if self.kind == "integer":
            return min(int(self.high), int(self.low) + int(unit * (int(self.high) - int(self.low) + 1)))
        if self.kind == "linear":
            return float(self.low + unit * (self.high - self.low))
        return float(f"{math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low))):.6g}")


@dataclass(frozen=True)
class Proposal:
    """What a trial is run with.

    Args:
        mask: Level of each slot; 0 is off.
        units: Number in [0, 1] of each parameter, in the order of the space.
        values: Value of each parameter, by its key.
    """

    mask: tuple[int, ...]
    units: tuple[float, ...]
    values: Mapping[str, Value]

    @property
    def bits(self) -> str:
        """The mask as `bits:0110...`."""
        return f"bits:{''.join(map(str, self.mask))}"

    @property
    def digest(self) -> str:
        """Digest of mask and values: two proposals with the same one are the same trial."""
        content = json.dumps([self.bits, dict(sorted(self.values.items()))])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SearchSpace:
    """The space.

    Args:
        slots: Names of the slots.
        parameters: Settings that are searched beside the mask.
        levels: Values that a slot of the mask may take; 0 is off.
    """

    slots: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    levels: tuple[int, ...] = (0, 1)

    def proposal(self, mask: Any, units: Any) -> Proposal:
        """Return the proposal of a mask and a number in [0, 1] for each parameter."""
        bits = tuple(int(bit) for bit in mask)
        numbers = tuple(round(min(1.0, max(0.0, float(unit))), 6) for unit in np.atleast_1d(units))
        values = {p.key: p.value(u) for p, u in zip(self.parameters, numbers, strict=True)}
        return Proposal(bits, numbers, values)

    def parametrization(self) -> ng.p.Dict:
        """Return the space as nevergrad's: bits by transitions, which add no noise, and bounded numbers."""
        entries: dict[str, Any] = {}
        if self.slots:
            entries["mask"] = ng.p.TransitionChoice(list(self.levels), repetitions=len(self.slots))
        if self.parameters:
            entries["units"] = ng.p.Array(init=np.full(len(self.parameters), 0.5), lower=0.0, upper=1.0)
        return ng.p.Dict(**entries)

    def read(self, candidate: Any) -> Proposal:
        """Return the proposal of a candidate of nevergrad's."""
        return self.proposal(candidate.value.get("mask", ()), candidate.value.get("units", ()))

    def child(self, parametrization: Any, proposal: Proposal) -> Any:
        """Return the candidate of a proposal."""
        value: dict[str, Any] = {}
        if self.slots:
            value["mask"] = proposal.mask
        if self.parameters:
            value["units"] = np.array(proposal.units)
        return parametrization.spawn_child(new_value=value)
