"""What a measure needs of a model: each need says itself how it is provided, and nothing else is computed.

A new need is one class. `Samples` (pictures for the captions of a side) and the probes of `memcontrol.measures.probes`
are those that exist; several pictures per prompt would be another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from memcontrol.measures.model import ScoredModel
from memcontrol.measures.options import ScoringOptions
from memcontrol.measures.real import RealImages

__all__ = ["Evidence", "Need", "Shadow"]

T = TypeVar("T")


class Need(ABC, Generic[T]):
    """Something that a measure is computed from; equal needs are provided once, so a need is a frozen dataclass."""

    @classmethod
    @abstractmethod
    def provide(
        cls, needs: list[Any], model: ScoredModel, real: RealImages, options: ScoringOptions, progress: bool
    ) -> Mapping[Any, Any]:
        """Provide several needs of this class, which may share their work.

        Under DDP each process does its share, and all of them get everything.

        Args:
            needs: Needs of this class.
            model: The model.
            real: Real images, to take prompts and probes from.
            options: How much, and how.
            progress: Whether to show bars.

        Returns:
            What was provided, by need.
        """

    @classmethod
    def kind(cls) -> type[Need[Any]]:
        """Return the class that provides needs of this one, and others, together."""
        return cls


@dataclass(frozen=True)
class Evidence:
    """All that measures are computed from, by need.

    Args:
        found: What was provided.
    """

    found: Mapping[Need[Any], Any] = field(default_factory=dict)

    def __contains__(self, need: Need[Any]) -> bool:
        """Whether a need was provided."""
        return need in self.found

    def __getitem__(self, need: Need[T]) -> T:
        """Return what was provided for a need."""
        provided: T = self.found[need]
        return provided

    def get(self, need: Need[T]) -> T | None:
        """Return what was provided for a need, or None."""
        return self.found.get(need)

    def holds(self, needs: Iterable[Need[Any]]) -> bool:
        """Whether all of these were provided."""
        return all(need in self.found for need in needs)


@dataclass(frozen=True)
class Shadow:
    """A model that was trained as the one in question, on other patients of the same site.

    Args:
        evidence: What it gives away of the images of both sides.
        members: Patients that it was trained on.
    """

    evidence: Evidence
    members: frozenset[str]
