"""What is searched: a mask over slots, the learning rate, and what else a config adds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import nevergrad as ng
import numpy as np
from jsonargparse import Namespace

from memcontrol.errors import SearchError
from memcontrol.jobs.job import overlay_of

__all__ = ["Parameter", "Proposal", "SearchSpace"]

Value = int | float | str


@dataclass(frozen=True)
class Parameter:
    """A setting that is searched, by its dotted key in the config.

    Args:
        key: Key in the config, e.g. `model.adapter.r`.
        kind: `log` and `linear` are numbers between `low` and `high`, `integer` a whole one, `choice` one of `choices`.
        low: Lower bound.
        high: Upper bound.
        choices: Values to choose from, the usual one first; or by name, where they are more than a number or a word (a
            whole adapter, say).
        when: Values that other parameters, which are choices and stand before this one, must have for this one to
            matter: `{model.adapter: [lora]}` for a rank. Several parameters may have one key if no two of them matter
            at once: a learning rate for each method, say.

    Raises:
        SearchError: If bounds or choices are missing or wrong.
    """

    key: str
    kind: Literal["log", "linear", "integer", "choice"] = "log"
    low: float | None = None
    high: float | None = None
    choices: list[Value] | dict[str, Any] = field(default_factory=list)
    when: dict[str, list[Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check bounds and choices."""
        object.__setattr__(self, "choices", _plain(self.choices))
        if self.kind == "choice":
            if len(self.choices) < 2:
                raise SearchError(f"Parameter `{self.key}` needs at least two `choices`, but got {self.choices}.")
            return
        if self.low is None or self.high is None or not self.low < self.high or (self.kind == "log" and self.low <= 0):
            raise SearchError(
                f"Parameter `{self.key}` of kind {self.kind} needs `low` < `high`"
                f"{' above 0' if self.kind == 'log' else ''}, but got {self.low} and {self.high}."
            )

    @property
    def labels(self) -> list[Value]:
        """What its choices are called."""
        return list(self.choices)

    def value(self, unit: float) -> Value:
        """Map a number in [0, 1] to a value, or to what a choice is called."""
        unit = min(1.0, max(0.0, unit))
        if self.kind == "choice":
            return self.labels[self.level(unit)]
        assert self.low is not None
        assert self.high is not None
        if self.kind == "integer":
            return min(int(self.high), int(self.low) + int(unit * (int(self.high) - int(self.low) + 1)))
        if self.kind == "linear":
            return float(f"{self.low + unit * (self.high - self.low):.6g}")
        return float(f"{math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low))):.6g}")

    def level(self, unit: float) -> int:
        """Return the number of the choice that a number in [0, 1] stands for."""
        return min(len(self.choices) - 1, int(unit * len(self.choices)))

    def unit(self, level: int) -> float:
        """Return the number in [0, 1] in the middle of what stands for a choice."""
        return (level + 0.5) / len(self.choices)

    def unit_of(self, value: Any) -> float:
        """Return the number in [0, 1] that stands for a value, or for what a choice is called.

        Raises:
            SearchError: If it is none of its values.
        """
        if self.kind == "choice":
            if value not in self.labels:
                raise SearchError(f"`{self.key}` is one of {self.labels}, but got {value!r}.")
            return self.unit(self.labels.index(value))
        assert self.low is not None
        assert self.high is not None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            raise SearchError(f"`{self.key}` is a number in [{self.low:g}, {self.high:g}], but got {value!r}.")
        if self.kind == "integer" and value != int(value):
            raise SearchError(f"`{self.key}` is a whole number, but got {value!r}.")
        if self.kind == "integer":
            return (int(value) - int(self.low) + 0.5) / (int(self.high) - int(self.low) + 1)
        if self.kind == "linear":
            return float((value - self.low) / (self.high - self.low))
        return math.log(value / self.low) / math.log(self.high / self.low)

    def setting(self, value: Any) -> Any:
        """Return what a value is in the config."""
        return deepcopy(self.choices[value]) if isinstance(self.choices, dict) else value


@dataclass(frozen=True)
class Proposal:
    """What a trial is run with.

    Args:
        mask: Level of each slot; 0 is off.
        units: Number in [0, 1] of each parameter, in the order of the space.
        values: Value of each parameter that matters, by its key; of a choice, what it is called.
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
        may_be_empty: Whether a mask with all slots off trains something.

    Raises:
        SearchError: If a condition names no choice before it, or two parameters of one key may matter at once.
    """

    slots: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    levels: tuple[int, ...] = (0, 1)
    may_be_empty: bool = True

    def __post_init__(self) -> None:
        """Check the conditions."""
        for i, parameter in enumerate(self.parameters):
            before = {p.key: p for p in self.parameters[:i] if p.kind == "choice"}
            for key, allowed in parameter.when.items():
                wrong = [v for v in allowed if key not in before or v not in before[key].labels]
                if wrong or not allowed:
                    known = {name: choice.labels for name, choice in before.items()}
                    raise SearchError(
                        f"Parameter `{parameter.key}` matters when `{key}` is one of {allowed}, but the choices before "
                        f"it are {known}. Name some of these, or leave `when` out."
                    )
            for other in self.parameters[:i]:
                if other.key == parameter.key and not _exclude(other.when, parameter.when):
                    raise SearchError(
                        f"Two parameters are called `{parameter.key}`, and both may matter at once. Give them a `when` "
                        "that no trial meets twice, or leave one out."
                    )

    def proposal(self, mask: Any, units: Any) -> Proposal:
        """Return the proposal of a mask and a number in [0, 1] for each parameter."""
        bits = tuple(int(bit) for bit in mask)
        numbers = np.round(np.clip(np.atleast_1d(np.asarray(units, dtype=float)), 0, 1), 6)
        matters = self.matters(numbers[None])[0]
        known = zip(self.parameters, numbers.tolist(), matters, strict=True)
        values = {p.key: p.value(unit) for p, unit, is_on in known if is_on}
        return Proposal(bits, tuple(np.where(matters, numbers, 0.5).tolist()), values)

    def start(self, values: Mapping[str, Any]) -> Proposal:
        """Return the proposal with these values, and the usual ones where none is given.

        Args:
            values: Values by key, of a choice what it is called; `model.mask`, level by level, is all on unless given.

        Raises:
            SearchError: If a key is not searched or does not matter beside the others, a value is none of the space, or
                nothing would be trained.
        """
        units = list(self.middle)
        mask = values.get("model.mask", [1] * len(self.slots))
        wrong = [] if isinstance(mask, list) else [mask]
        if wrong or len(mask) != len(self.slots) or not set(mask) <= set(self.levels):
            raise SearchError(
                f"`model.mask` of a start has one of {list(self.levels)} for each of {len(self.slots)} slots, but got "
                f"{mask}."
            )
        left = {key: value for key, value in values.items() if key != "model.mask"}
        for k, parameter in enumerate(self.parameters):  # what a parameter depends on stands before it
            if parameter.key in left and self.matters(np.array([units]))[0, k]:
                units[k] = parameter.unit_of(left.pop(parameter.key))
        if left:
            searched = {parameter.key for parameter in self.parameters}
            key = next(iter(left))
            why = "does not matter beside the others" if key in searched else f"is not searched; {sorted(searched)} are"
            raise SearchError(f"Start {dict(values)} names `{key}`, which {why}. Leave it out, or mend the start.")
        found = self.proposal(mask, units)
        if not self.trains(found):
            raise SearchError(f"Start {dict(values)} turns all slots off, with which nothing is trained. Turn one on.")
        return found

    @cached_property
    def middle(self) -> tuple[float, ...]:
        """The middle of all numbers, and the first of each parameter's choices."""
        return tuple(p.unit(0) if p.kind == "choice" else 0.5 for p in self.parameters)

    def choosing(self, k: int, level: int) -> tuple[float, ...]:
        """Return the middle of the space with a choice of a parameter, and what it takes for that one to matter.

        Args:
            k: Number of the parameter in the space, which is a choice.
            level: Number of what is chosen.

        Returns:
            A number in [0, 1] for each parameter, in the order of the space.
        """
        units = list(self.middle)
        self._choose(units, k, level)
        return tuple(units)

    def _choose(self, units: list[float], k: int, level: int) -> None:
        units[k] = self.parameters[k].unit(level)
        for key, allowed in self.parameters[k].when.items():
            parents = [j for j in range(k) if self.parameters[j].key == key]
            met = [j for j in parents if self.parameters[j].value(units[j]) in allowed]
            if not (met and self.matters(np.array([units]))[0, met].any()):
                j, label = next((j, v) for j in parents for v in allowed if v in self.parameters[j].labels)
                self._choose(units, j, self.parameters[j].labels.index(label))

    def trains(self, proposal: Proposal) -> bool:
        """Whether a proposal trains something."""
        return self.may_be_empty or not self.slots or any(proposal.mask)

    def matters(self, units: np.ndarray) -> np.ndarray:
        """Return which parameters matter, with shape `(n, K)`, for numbers in [0, 1] of that shape."""
        found = np.ones(units.shape, dtype=bool)
        place: dict[str, list[int]] = {}
        for k, parameter in enumerate(self.parameters):
            for key, allowed in parameter.when.items():
                met = np.zeros(len(units), dtype=bool)
                for j in place[key]:
                    labels = self.parameters[j].labels
                    is_allowed = np.array([label in allowed for label in labels])
                    levels = np.minimum(len(labels) - 1, (units[:, j] * len(labels)).astype(int))
                    met |= found[:, j] & is_allowed[levels]
                found[:, k] &= met
            place.setdefault(parameter.key, []).append(k)
        return found

    def overlay(self, mask: Sequence[int], units: Sequence[float]) -> dict[str, Any]:
        """Return the config overlay of a trial: its mask, where one is searched, and its settings."""
        settings: dict[str, Any] = {"model.mask": list(mask)} if self.slots else {}
        matters = self.matters(np.asarray(units, dtype=float).reshape(1, -1))[0]
        for parameter, unit, is_on in zip(self.parameters, units, matters, strict=True):
            if is_on:
                settings[parameter.key] = parameter.setting(parameter.value(unit))
        return overlay_of(settings)

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Which parameters are numbers."""
        return tuple(k for k, p in enumerate(self.parameters) if p.kind != "choice")

    @cached_property
    def categories(self) -> tuple[int, ...]:
        """Which parameters are choices."""
        return tuple(k for k, p in enumerate(self.parameters) if p.kind == "choice")

    def parametrization(self) -> ng.p.Dict:
        """Return the space as nevergrad's: bits and choices by transitions, which add no noise, and bounded numbers.

        An optimizer that looks for more than that finds this space as its attribute `space`.
        """
        entries: dict[str, Any] = {}
        if self.slots:
            entries["mask"] = ng.p.TransitionChoice(list(self.levels), repetitions=len(self.slots))
        if self.numbers:
            entries["units"] = ng.p.Array(init=np.full(len(self.numbers), 0.5), lower=0.0, upper=1.0)
        for k in self.categories:
            entries[f"choice {k}"] = ng.p.TransitionChoice(range(len(self.parameters[k].choices)))
        found = ng.p.Dict(**entries)
        found.space = self
        return found

    def read(self, candidate: Any) -> Proposal:
        """Return the proposal of a candidate of nevergrad's."""
        units = np.full(len(self.parameters), 0.5)
        units[list(self.numbers)] = candidate.value.get("units", ())
        for k in self.categories:
            units[k] = self.parameters[k].unit(candidate.value[f"choice {k}"])
        return self.proposal(candidate.value.get("mask", ()), units)

    def child(self, parametrization: Any, proposal: Proposal) -> Any:
        """Return the candidate of a proposal."""
        value: dict[str, Any] = {}
        if self.slots:
            value["mask"] = proposal.mask
        if self.numbers:
            value["units"] = np.array([proposal.units[k] for k in self.numbers])
        for k in self.categories:
            value[f"choice {k}"] = self.parameters[k].level(proposal.units[k])
        return parametrization.spawn_child(new_value=value)


def _plain(value: Any) -> Any:
    """Return plain lists and dictionaries: the parser makes namespaces of what looks like an object of a class."""
    if isinstance(value, Namespace | dict):
        return {str(k): _plain(v) for k, v in (value.items() if isinstance(value, dict) else vars(value).items())}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _exclude(one: Mapping[str, list[Value]], other: Mapping[str, list[Value]]) -> bool:
    """Whether no trial meets both conditions."""
    return any(not set(one[key]) & set(other[key]) for key in one.keys() & other.keys())
