r"""A proposer for masks: Bayesian linear regression with pairwise terms, and Thompson sampling.

Each objective is modelled over terms :math:`b_i`: bits in :math:`\{-1, 1\}`, numbers in :math:`[-1, 1]`, and for each
choice as many indicators as it has values. A parameter that does not matter in a trial has the term 0 there.

.. math:: f = w_0 + \sum_i w_i b_i + \sum_k u_k b_k^2 + \sum_{i<j} w_{ij} b_i b_j

with squares of numbers and Gaussian priors, tighter for pairs than for single terms; their scales and the noise are
those of the highest marginal likelihood on a grid. To propose, weights are sampled from the posterior of each
objective, drawn towards its mean, and a random Tchebycheff weighting of the sampled functions is minimised, so that
proposals spread along the front.

References:
    Baptista and Poloczek, "Bayesian optimization of combinatorial structures", ICML 2018,
    https://arxiv.org/abs/1806.08838 (the model of pairwise terms).
    Paria et al., "A flexible framework for multi-objective Bayesian optimization using random scalarizations",
    UAI 2019, https://arxiv.org/abs/1805.12168 (Thompson sampling with random weights).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from nevergrad.optimization import base
from nevergrad.parametrization import parameter as p

from memcontrol.measures.statistics.pareto import front
from memcontrol.search.space import SearchSpace

__all__ = ["NAME", "PairwiseModel", "PairwiseThompson", "features"]

NAME: Final = "PairwiseThompson"
PAIRS: Final = (0.002, 0.02, 0.1, 0.4)
"""Prior variances of pairs as shares of that of single terms."""
SPREAD: Final = 0.3
"""Share of the posterior's spread with which weights are sampled: with all of it, the many weights that a few trials
leave open decide, and proposals are little better than random ones (`benchmarks/wide_proposers.py`)."""
WIDELY: Final = 0.2
"""Share of proposals whose weights are sampled with all of it, so that nothing is left out for good."""
FAR: Final = 5.0
"""Standard deviations from the median beyond which a value counts as no further off."""
BEST: Final = 5
"""Trials, the best ones under the weighting, around which candidates lie."""
CHANGES: Final = 4
"""Largest mean number of changes that lead to a candidate from one of these."""
REACH: Final = 3
"""Changes by which a candidate is improved. With as many as there are parameters, proposals end in corners of the space
that nothing is known of, wherever noise hides most effects."""
MOVES: Final = (-0.15, -0.04, 0.04, 0.15)
"""By how much a number is moved to improve a candidate."""
Floats = np.ndarray


def features(space: SearchSpace, bits: Floats, units: Floats) -> tuple[Floats, Floats]:
    """Return the terms of the model, and the order of each (0: constant, 1: single, 2: pair or square).

    Args:
        space: What is searched.
        bits: 0 and 1, with shape `(n, B)`.
        units: Numbers in [0, 1], with shape `(n, K)`.
    """
    z, owner = _settings(space, units)
    b = 2.0 * bits - 1
    singles = np.concatenate([b, z], axis=1)
    owners = np.concatenate([np.arange(b.shape[1]), b.shape[1] + owner])
    i, j = np.triu_indices(singles.shape[1], 1)
    apart = owners[i] != owners[j]  # indicators of one choice exclude each other
    i, j = i[apart], j[apart]
    is_number = np.isin(owner, space.numbers)
    columns = [np.ones((len(b), 1)), singles, singles[:, i] * singles[:, j], z[:, is_number] ** 2]
    order = [0] + [1] * singles.shape[1] + [2] * (len(i) + int(is_number.sum()))
    return np.concatenate(columns, axis=1), np.array(order)


def _settings(space: SearchSpace, units: Floats) -> tuple[Floats, Floats]:
    """Return the terms of parameters, and which parameter each belongs to."""
    matters = space.matters(units)
    columns, owner = [np.zeros((len(units), 0))], []
    for k, parameter in enumerate(space.parameters):
        if parameter.kind != "choice":
            columns.append((2.0 * units[:, k : k + 1] - 1) * matters[:, k : k + 1])
            owner.append(k)
            continue
        count = len(parameter.choices)
        levels = np.minimum(count - 1, (units[:, k] * count).astype(int))
        columns.append((np.eye(count)[levels] - 1 / count) * matters[:, k : k + 1])
        owner += [k] * count
    return np.concatenate(columns, axis=1), np.array(owner, dtype=int)


def without_outliers(values: Floats) -> Floats:
    """Return values, those far from the median moved nearer: one broken trial would drown what all others tell.

    Example:
        >>> without_outliers(np.array([0.3, 0.4, 0.5, 0.6, 20.0])).round(2).tolist()
        [0.3, 0.4, 0.5, 0.6, 1.24]
    """
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))  # a standard deviation, of normal values
    return np.clip(values, middle - FAR * spread, middle + FAR * spread) if spread else values


@dataclass(frozen=True)
class PairwiseModel:
    """Posterior of one objective.

    Args:
        x: Terms of what is known, with shape `(n, F)`.
        prior: Prior variance of each weight, with shape `(F,)`.
        noise: Variance of the noise.
        target: Values of what is known, without their mean and in units of their spread, with shape `(n,)`.
        scale: That spread.
    """

    x: Floats
    prior: Floats
    noise: float
    target: Floats
    scale: float

    @classmethod
    def fit(cls, x: Floats, order: Floats, y: Floats) -> PairwiseModel:
        """Fit terms with shape `(n, F)` to values with shape `(n,)`; one that lies far off counts as a nearer one."""
        y = without_outliers(y)
        scale = float(np.std(y)) or 1.0
        target = (y - float(np.mean(y))) / scale
        best: tuple[float, Floats, float] | None = None
        for single in (0.02, 0.08, 0.3):
            for pair in PAIRS:
                prior = np.select([order == 0, order == 1], [1.0, single], single * pair)
                kernel = (x * prior) @ x.T
                for noise in (0.02, 0.1, 0.3, 0.7):
                    covariance = kernel + noise * np.eye(len(x))
                    _, logdet = np.linalg.slogdet(covariance)
                    evidence = -0.5 * (logdet + target @ np.linalg.solve(covariance, target))
                    if best is None or evidence > best[0]:
                        best = (evidence, prior, noise)
        assert best is not None
        _, prior, noise = best
        return cls(x, prior, noise, target, scale)

    @property
    def _kernel(self) -> Floats:
        kernel: Floats = (self.x * self.prior) @ self.x.T + self.noise * np.eye(len(self.x))
        return kernel

    def _given(self, target: Floats) -> Floats:
        """Return the posterior mean of the weights if these were the values."""
        found: Floats = self.prior * (self.x.T @ np.linalg.solve(self._kernel, target))
        return found

    def sample(self, rng: np.random.Generator, spread: float = 1.0) -> Floats:
        """Sample weights from the posterior, in the objective's own units but for its centre.

        A weight of the prior is corrected by what it does not explain (Matheron's rule), which costs no inverse of all
        terms.

        Args:
            rng: Random numbers.
            spread: Share of the distance from the mean that is kept.
        """
        weights = np.sqrt(self.prior) * rng.standard_normal(len(self.prior))
        noise = np.sqrt(self.noise) * rng.standard_normal(len(self.target))
        sampled = weights + self._given(self.target - self.x @ weights - noise)
        mean = self._given(self.target)
        found: Floats = self.scale * (mean + spread * (sampled - mean))
        return found

    def singles(self, num_bits: int) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of what turning each bit on changes, in the objective's units."""
        chosen = slice(1, 1 + num_bits)
        cross = self.x[:, chosen] * self.prior[chosen]
        variance = self.prior[chosen] - (cross * np.linalg.solve(self._kernel, cross)).sum(axis=0)
        return 2 * self.scale * self._given(self.target)[chosen], 2 * self.scale * np.sqrt(variance.clip(min=0))


def _reach(losses: Floats) -> Floats:
    """Return how far the best losses reach in each objective: what weightings of objectives are in units of.

    The spread of all losses would shrink wherever proposals gather, and make the rest of the front look farther away.
    """
    reach = np.ptp(losses[list(front([tuple(row) for row in -losses]))], axis=0)
    found: Floats = np.where(reach > 0, reach, losses.std(axis=0) + 1e-12)
    return found


class PairwiseThompson(base.Optimizer):
    """The proposer as an optimizer of nevergrad, for spaces of `SearchSpace.parametrization`."""

    takes_reference = False
    """It takes the losses themselves; see `Proposer.tell`."""

    def __init__(self, parametrization: Any, budget: int | None = None, num_workers: int = 1) -> None:
        super().__init__(parametrization, budget=budget, num_workers=num_workers)
        self._space: SearchSpace = parametrization.space
        self._known: list[tuple[Floats, Floats, Floats]] = []
        self.num_random = 4
        self.num_candidates = 2048

    def _internal_tell_candidate(self, candidate: p.Parameter, loss: float) -> None:
        told = self._space.read(candidate)
        losses = np.atleast_1d(np.array(candidate.losses, dtype=float))
        self._known.append((np.array(told.mask, dtype=float), np.array(told.units, dtype=float), losses))

    def _internal_tell_not_asked(self, candidate: p.Parameter, loss: float) -> None:
        self._internal_tell_candidate(candidate, loss)

    def _internal_ask_candidate(self) -> p.Parameter:
        rng = np.random.default_rng(self.parametrization.random_state.randint(2**31))
        num_bits, num_units = len(self._space.slots), len(self._space.parameters)
        if len(self._known) < self.num_random:
            return self._child(rng.integers(0, 2, num_bits), rng.random(num_units))
        bits, units, losses = (np.stack(column) for column in zip(*self._known, strict=True))
        x, order = features(self._space, bits, units)
        kept = 1.0 if rng.random() < WIDELY else SPREAD
        weights = [PairwiseModel.fit(x, order, column).sample(rng, kept) for column in losses.T]
        spread = _reach(losses)
        preference = rng.dirichlet(np.ones(losses.shape[1]))

        def sampled(b: Floats, u: Floats) -> Floats:
            terms = features(self._space, b, u)[0]
            values: Floats = np.stack([terms @ w for w in weights], axis=1) / spread
            return values

        preferred = np.argsort((preference * (losses - losses.min(axis=0)) / spread).max(axis=1), kind="stable")[:BEST]
        candidates = self._candidates(rng, bits[preferred], units[preferred])
        reference = sampled(*candidates).min(axis=0)

        def score(b: Floats, u: Floats) -> Floats:
            weighted = preference * (sampled(b, u) - reference)
            found: Floats = weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)
            return found

        return self._child(*self._climb(score, *candidates))

    def _candidates(self, rng: np.random.Generator, bits: Floats, units: Floats) -> tuple[Floats, Floats]:
        """Return candidates that are a few changes away from these, and half as many random ones."""
        number, total = self.num_candidates, bits.shape[1] + units.shape[1]
        chosen = rng.integers(len(bits), size=number)
        changes = rng.random((number, total)) < (rng.integers(1, CHANGES + 1, size=number) / total)[:, None]
        near, flips, moves = bits[chosen], changes[:, : bits.shape[1]], changes[:, bits.shape[1] :]
        moved = np.clip(units[chosen] + 0.1 * rng.standard_normal(moves.shape), 0, 1)
        is_new = np.isin(np.arange(units.shape[1]), self._space.categories) | (rng.random(moves.shape) < 0.3)
        moved = np.where(moves, np.where(is_new, rng.random(moves.shape), moved), units[chosen])
        fresh = rng.integers(0, 2, (number // 2, bits.shape[1])).astype(float)
        numbers = np.concatenate([moved, rng.random((number // 2, units.shape[1]))])
        return np.concatenate([np.abs(near - flips), fresh]), numbers

    def _climb(self, score: Any, masks: Floats, numbers: Floats, starts: int = 4) -> tuple[Floats, Floats]:
        """Improve the best candidates by single changes, and return the best that has not been told."""
        known = {self._key(bits, units) for bits, units, _ in self._known}
        values = score(masks, numbers)
        best = np.argsort(values, kind="stable")[:starts]
        pool = [(masks[i], numbers[i]) for i in best]
        for _ in range(REACH):
            moved = []
            for bits, units in pool:
                around = self._around(bits, units)
                chosen = int(np.argmin(score(*around)))
                moved.append((around[0][chosen], around[1][chosen]))
            if all(np.array_equal(np.concatenate(a), np.concatenate(b)) for a, b in zip(pool, moved, strict=True)):
                break
            pool = moved
        ranked = np.argsort(score(np.stack([b for b, _ in pool]), np.stack([u for _, u in pool])), kind="stable")
        order = [pool[i] for i in ranked] + [(masks[i], numbers[i]) for i in np.argsort(values, kind="stable")]
        fresh: tuple[Floats, Floats] = next((found for found in order if self._is_new(found, known)), order[0])
        return fresh

    def _around(self, bits: Floats, units: Floats) -> tuple[Floats, Floats]:
        """Return a candidate, and those that differ from it in one bit, one choice, or one number by a little."""
        masks = np.concatenate([bits[None], np.abs(bits - np.eye(len(bits)))])
        changed = []
        for k, parameter in enumerate(self._space.parameters):
            is_choice = parameter.kind == "choice"
            others = map(parameter.unit, range(len(parameter.choices))) if is_choice else units[k] + np.array(MOVES)
            changed += [np.where(np.arange(len(units)) == k, np.clip(other, 0, 1), units) for other in others]
        numbers = np.concatenate([np.repeat(units[None], len(masks), axis=0), *(c[None] for c in changed)])
        return np.concatenate([masks, np.repeat(bits[None], len(changed), axis=0)]), numbers

    def _is_new(self, found: tuple[Floats, Floats], known: set[str]) -> bool:
        proposal = self._space.proposal(*found)
        return proposal.digest not in known and self._space.trains(proposal)

    def _key(self, bits: Floats, units: Floats) -> str:
        return self._space.proposal(bits, units).digest

    def _child(self, bits: Floats, units: Floats) -> p.Parameter:
        return self._space.child(self.parametrization, self._space.proposal(bits, units))


if NAME not in base.registry:
    base.registry.register(PairwiseThompson)
