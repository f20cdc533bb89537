"""Ask and tell over any optimizer of nevergrad's registry: an initial design first, and no trial twice.

A proposer of your own is an optimizer that is entered in that registry (`nevergrad.optimizers.registry`) by a file
named under `extensions`; `search.optimizer` names it. It subclasses `nevergrad.optimization.base.Optimizer` and
overrides `_internal_ask_candidate`, `_internal_tell_candidate` and `_internal_tell_not_asked`, since the initial design
is reported without having been asked for (`bayes.py` is an example). Its randomness comes from
`parametrization.random_state` alone: a study is resumed by asking and telling anew. One that handles several losses
itself says `takes_reference = False`.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from typing import Any

import nevergrad as ng
import numpy as np

from memcontrol.errors import SearchError
from memcontrol.measures.statistics.objective import loss_of
from memcontrol.search import bayes
from memcontrol.search.space import Proposal, SearchSpace
from memcontrol.seeds import derive_seed

__all__ = ["Proposer"]


class Proposer:
    """Proposes what to try next.

    Everything follows from the seed and the order of asks and tells, so a study is resumed by repeating them.

    Args:
        space: The space.
        optimizer: Name in nevergrad's registry; ours is `PairwiseThompson`.
        design: Proposals that come first.
        budget: Number of trials, which some optimizers plan with.
        num_workers: Trials at once.
        num_objectives: Number of rewards.
        seed: Seed.

    Raises:
        SearchError: If nevergrad has no such optimizer, or has one that takes no trial which it has not asked for, or
            that needs a package which is missing.
    """

    def __init__(
        self,
        space: SearchSpace,
        optimizer: str,
        design: Sequence[Proposal],
        budget: int,
        num_workers: int,
        num_objectives: int,
        seed: int,
    ) -> None:
        if optimizer not in ng.optimizers.registry:
            near = difflib.get_close_matches(optimizer, list(ng.optimizers.registry), 5)
            raise SearchError(
                f"Argument `search.optimizer` must be an optimizer of nevergrad, such as {bayes.NAME!r} (ours), but "
                f"got {optimizer!r}. Near: {near}."
            )
        self.space = space
        self.seed = seed
        self.num_objectives = num_objectives
        self._waiting: list[Proposal] = []
        self._begin(optimizer, budget, num_workers)
        try:  # what it cannot do, it would say after the first trials were paid for
            self.tell(space.proposal([1] * len(space.slots), space.middle), [0.0] * num_objectives)
            self._optimizer.ask()
        except Exception as error:
            raise SearchError(
                f"Argument `search.optimizer` is {optimizer!r}, which cannot carry out a search here "
                f"({type(error).__name__}: {str(error)[:200]}). Choose another, such as {bayes.NAME!r} (ours)."
            ) from error
        self._begin(optimizer, budget, num_workers)
        self._waiting = list(design)

    def _begin(self, optimizer: str, budget: int, num_workers: int) -> None:
        """Make the optimizer, which knows of no trial."""
        parametrization = self.space.parametrization()
        parametrization.random_state.seed(derive_seed(self.seed, "proposer") % 2**32)
        self._optimizer = ng.optimizers.registry[optimizer](parametrization, budget=budget, num_workers=num_workers)
        self._asked: dict[str, Any] = {}
        self._has_reference = False

    def ask(self) -> Proposal | None:
        """Return a proposal that was not asked before, or None if there is none left."""
        while self._waiting:
            proposal = self._waiting.pop(0)
            if proposal.digest not in self._asked:
                self._asked[proposal.digest] = None
                return proposal
        for _ in range(20):
            candidate = self._optimizer.ask()
            proposal = self.space.read(candidate)
            if proposal.digest not in self._asked and self.space.trains(proposal):
                self._asked[proposal.digest] = candidate
                return proposal
        return self._random()

    def preview(self, count: int) -> list[Proposal]:
        """Return what is asked first, at least one and at most so many, without asking it."""
        return self._waiting[:count] or [self.space.proposal([1] * len(self.space.slots), self.space.middle)]

    def take(self, proposal: Proposal) -> None:
        """Hold a proposal for asked that came from elsewhere; it can be told, and is not asked again."""
        self._asked.setdefault(proposal.digest, None)

    def tell(self, proposal: Proposal, rewards: Sequence[float]) -> None:
        """Tell the rewards of a proposal (higher is better); only finite ones may be told.

        Raises:
            ValueError: If a reward is not finite, which nevergrad would clip and go on.
        """
        if not np.isfinite(rewards).all():
            raise ValueError(f"Only finite rewards may be told, but got {list(rewards)}.")
        losses = [loss_of(reward) for reward in rewards]
        if len(losses) > 1 and not self._has_reference and getattr(self._optimizer, "takes_reference", True):
            reference = [loss + abs(loss) + 1.0 for loss in losses]
            self._optimizer.tell(ng.p.MultiobjectiveReference(), reference)
            self._has_reference = True
        candidate = self._asked.get(proposal.digest)
        if candidate is None:
            candidate = self.space.child(self._optimizer.parametrization, proposal)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="Updating fitness with inf value"
            )  # its scalar, which ours ignores
            self._optimizer.tell(candidate, losses if len(losses) > 1 else losses[0])

    def _random(self) -> Proposal | None:
        """Return a random proposal that was not asked before."""
        rng = np.random.default_rng(derive_seed(self.seed, "random", len(self._asked)))
        for _ in range(1000):
            mask = rng.choice(self.space.levels, len(self.space.slots))
            proposal = self.space.proposal(mask, rng.random(len(self.space.parameters)))
            if proposal.digest not in self._asked and self.space.trains(proposal):
                self._asked[proposal.digest] = None
                return proposal
        return None
