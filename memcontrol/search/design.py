"""What a study tries first: what one has picked by hand, and a few plain proposals that the proposer learns from."""

from __future__ import annotations

from memcontrol.errors import SearchError
from memcontrol.search.options import SearchOptions
from memcontrol.search.space import Proposal, SearchSpace

__all__ = ["initial_design"]


def initial_design(space: SearchSpace, options: SearchOptions, trains_without: bool) -> list[Proposal]:
    """Return the proposals that come first: `search.starts`, then `search.anchors`.

    Args:
        space: The space.
        options: Options of the study.
        trains_without: Whether a mask with all bits off trains something.

    Raises:
        SearchError: If a start is no point of the space.
    """
    count, middle = len(space.slots), space.middle
    try:
        found = [space.start(values) for values in options.starts]
    except SearchError as error:
        raise SearchError(
            f"Argument `search.starts` names what is no point of the space: {error} Mend it, or widen the space."
        ) from error
    for anchor in options.anchors if count or space.categories else []:
        if anchor == "all":
            found.append(space.proposal([1] * count, middle))
        elif anchor == "none" and trains_without:
            found.append(space.proposal([0] * count, middle))
        elif anchor == "each":
            found += [space.proposal([1] * count, units) for units in _each_choice(space)]
        elif anchor == "single":
            found += [space.proposal([int(i == j) for j in range(count)], middle) for i in range(count)]
    return found


def _each_choice(space: SearchSpace) -> list[tuple[float, ...]]:
    """Return the middle of the space with each value of each choice that other parameters depend on, if any do."""
    conditions = {key for parameter in space.parameters for key in parameter.when}
    deciding = [k for k in space.categories if space.parameters[k].key in conditions]
    return [space.choosing(k, n) for k in deciding or space.categories for n in range(len(space.parameters[k].choices))]
